"""A mail server that keeps nothing: prints its port, then each mail that it takes, a line of JSON each. It ends with its input.

Given a certificate, its key, and `starttls` or `tls`, it talks to nobody who does not encrypt and log in as u with s3cret:!.
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult


class Printer:
    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": mail["subject"],
            "id": mail["message-id"],
            "text": mail.get_content(),
        }
        print(json.dumps(told), flush=True)
        return "250 taken"


def known(server, session, envelope, mechanism, data):
    # what is not handled is answered with 535
    return AuthResult(success=(data.login, data.password) == (b"u", b"s3cret:!"), handled=False)


async def serve():
    loop = asyncio.get_running_loop()
    of_listener, of_session = {}, {}
    if len(sys.argv) > 1:
        certificate, key, how = sys.argv[1:]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        of_session = {"auth_required": True, "authenticator": known}
        if how == "tls":
            of_listener = {"ssl": context}
            of_session["auth_require_tls"] = False
        else:
            of_session |= {"tls_context": context, "require_starttls": True}
    session = lambda: SMTP(Printer(), hostname="localhost", loop=loop, **of_session)
    server = await loop.create_server(session, "127.0.0.1", 0, **of_listener)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(serve())
