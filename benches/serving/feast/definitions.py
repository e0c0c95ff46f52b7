"""What Feast serves: five views of ten features, and a service of them. Read by `feast apply`, and by load.py."""

import os

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

VIEWS = 5
TYPES = {f"x{n}": Float64 for n in range(6)} | {f"n{n}": Int64 for n in range(2)} | {f"t{n}": String for n in range(2)}

customer = Entity(name="customer", join_keys=["user_id"], value_type=ValueType.INT64)


def view_of(number):
    source = FileSource(name=f"source{number}", path=os.path.abspath(f"view{number}.parquet"), timestamp_field="ts")
    schema = [Field(name=name, dtype=dtype) for name, dtype in TYPES.items()]
    return FeatureView(name=f"view{number}", entities=[customer], schema=schema, source=source, online=True)


# Feast finds what has a name of its own in the module
view0, view1, view2, view3, view4 = map(view_of, range(VIEWS))
service = FeatureService(name="service", features=[view0, view1, view2, view3, view4])
