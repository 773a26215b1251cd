"""Pictures and pairs over several devices: where arrays lie, and features whose rows are spread."""

from jaxnst.core.sharding.placement import ONE_DEVICE, OneDevice, OverDevices, Placement, make_mesh

__all__ = ["ONE_DEVICE", "OneDevice", "OverDevices", "Placement", "make_mesh"]
