"""Tecton's own client, unmodified. Takes the HTTP port's address, API keys of a role that may read and of one that may
not, and the certificate of an encrypted port, if there is one; ends with 0 if everything is as expected."""

import asyncio
import sys

import httpx
from tecton_client import AsyncTectonClient, MetadataOptions, RequestOptions, TectonClient
from tecton_client.exceptions import BadRequestError, ForbiddenError, NotFoundError, UnauthorizedError

url, key, other_key, certificate = sys.argv[1:5]
verify = certificate or True


def transport(**options):
    return httpx.Client(verify=verify, **options)


client = TectonClient(url=url, api_key=key, default_workspace_name="granary", client=transport())
arguments = {"feature_service_name": "driver", "join_key_map": {"driver": "ann"}, "request_context_map": {"fare": 20.0}}

# without metadata: values in their order
plain = client.get_features(**arguments)
assert plain.result.features == [True, 13.5, "2"], plain
assert plain.metadata is None and plain.slo_info is None

# with all of it
full = client.get_features(**arguments, metadata_options=MetadataOptions.all())
assert full.get_features_dict() == {"fare_check.is_dear": True, "driver_fares.fares": 13.5, "driver_fares.rides": 2}, full
features = full.metadata["features"]
assert [feature["status"] for feature in features] == ["PRESENT"] * 3, features
assert [feature["dataType"]["type"] for feature in features] == ["boolean", "float64", "int64"], features
assert "effectiveTime" not in features[0] and features[1]["effectiveTime"].endswith("Z"), features
assert features[1]["description"] == "of a week" and features[1]["tags"] == {"team": "rides"}, features
assert full.slo_info.slo_eligible and full.slo_info.server_time_seconds > 0, full.slo_info
assert full.slo_info.store_response_size_bytes > 0, full.slo_info

# what nobody knows
unknown = client.get_features(
    **{**arguments, "join_key_map": {"driver": None}},
    metadata_options=MetadataOptions(include_serving_status=True, include_names=True, include_data_types=True),
    request_options=RequestOptions(
        read_from_cache=False,
        write_to_cache=False,
        ignore_extra_request_context_fields=True,
        latency_budget_ms=2000,
        coerce_null_counts_to_zero=True,
    ),
    allow_partial_results=True,
)
assert [feature["status"] for feature in unknown.metadata["features"]][1:] == ["MISSING_DATA"] * 2, unknown
assert unknown.get_features_dict()["driver_fares.rides"] == 0, unknown

# out of the cache, the second time
for _ in range(2):
    cached = client.get_features(
        feature_service_name="cached",
        join_key_map={"driver": "ann"},
        metadata_options=MetadataOptions(include_serving_status=True),
    )
assert cached.metadata["features"][0]["status"] == "CACHED_PRESENT", cached

service = client.get_feature_service_metadata(feature_service_name="driver")
assert service.input_join_keys == [{"name": "driver", "dataType": {"type": "string"}}], service
assert service.input_request_context_keys == [{"name": "fare", "dataType": {"type": "float64"}}], service
assert [value["name"] for value in service.feature_values] == [feature["name"] for feature in features], service


def refused(error, message, **changes):
    try:
        client.get_features(**{**arguments, **changes})
    except error as caught:
        assert message in str(caught), caught
    else:
        raise AssertionError(f"{error} was expected")


refused(BadRequestError, "400 Bad Request: join key \"driver\" is missing", join_key_map={})
refused(BadRequestError, "who", join_key_map={"driver": "ann", "who": 1})
refused(NotFoundError, "404 Not Found", feature_service_name="nothing")
refused(NotFoundError, "nowhere", workspace_name="nowhere")
client = TectonClient(url=url, api_key="granary_wrong", default_workspace_name="granary", client=transport())
refused(UnauthorizedError, "401 Unauthorized")
client = TectonClient(url=url, api_key=other_key, default_workspace_name="granary", client=transport())
refused(ForbiddenError, "403 Forbidden: permission denied")

# HTTP/2: agreed on where the connection is encrypted, known beforehand where it is not
with transport(http2=True, http1=bool(certificate)) as http2:
    client = TectonClient(url=url, api_key=key, default_workspace_name="granary", client=http2)
    assert client.get_features(**arguments).result.features == plain.result.features
    assert http2.get(url + "/health").http_version == "HTTP/2"


async def many():
    async with httpx.AsyncClient(verify=verify) as http:
        client = AsyncTectonClient(url=url, api_key=key, default_workspace_name="granary", client=http)
        for answer in await asyncio.gather(*[client.get_features(**arguments) for _ in range(50)]):
            assert answer.result.features == plain.result.features, answer


asyncio.run(many())
