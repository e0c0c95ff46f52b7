"""What Feast serves: five views of ten features, and a service of them. Read by `feast apply`, and by load.py."""

import os

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

VIEWS = 5
TYPES = {f"x{n}": Float64 for n in range(6)} | {f"n{n}": Int64 for n in range(2)} | {f"t{n}": String for n in range(2)}

customer = Entity(name="customer", join_keys=["user_id"], value_type=ValueType.INT64)
sources = [
    FileSource(name=f"source{view}", path=os.path.abspath(f"view{view}.parquet"), timestamp_field="ts")
    for view in range(VIEWS)
]
views = [
    FeatureView(
        name=f"view{view}",
        entities=[customer],
        schema=[Field(name=name, dtype=dtype) for name, dtype in TYPES.items()],
        source=sources[view],
        online=True,
    )
    for view in range(VIEWS)
]
service = FeatureService(name="service", features=views)
