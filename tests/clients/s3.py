"""A local stand-in for S3: a bucket `lake` with the files of the command line, and a user who may read it.

Prints the endpoint and the user's two keys, and ends when its standard input does.
"""

import json
import sys
import urllib.request
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
endpoint = "http://%s:%d" % server.get_host_and_port()
options = {
    "endpoint_url": endpoint,
    "region_name": "us-east-1",
    "aws_access_key_id": "setup",
    "aws_secret_access_key": "setup",
}
s3 = boto3.client("s3", **options)
s3.create_bucket(Bucket="lake")
for argument in sys.argv[1:]:
    key, path = argument.split("=", 1)
    s3.put_object(Bucket="lake", Key=key, Body=Path(path).read_bytes())
iam = boto3.client("iam", **options)
iam.create_user(UserName="reader")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="reader")["AccessKey"]
# from now on keys are checked
urllib.request.urlopen(urllib.request.Request(endpoint + "/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}))
print(endpoint, key["AccessKeyId"], key["SecretAccessKey"], flush=True)
sys.stdin.read()
server.stop()
