"""Why a GPU's clock is below its maximum, and whether a measurement taken then still counts."""

from enum import IntFlag


class Throttle(IntFlag):
    """Reasons for clocks below the maximum, with NVML's bits (nvml.h, `nvmlClocksEventReasons`).

    Bits that are not named here are kept.
    """

    IDLE = 0x1
    APPLICATION_CLOCKS = 0x2
    POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SYNC_BOOST = 0x10
    SW_THERMAL = 0x20
    HW_THERMAL = 0x40
    POWER_BRAKE = 0x80
    DISPLAY_CLOCKS = 0x100
    BOARD_LIMIT = 0x200
    RELIABILITY = 0x400

    @property
    def names(self) -> tuple[str, ...]:
        """The reasons in words, such as ("power cap", "hw slowdown"); bits without a name as numbers."""
        bits = (1 << position for position in range(self.bit_length()))
        return tuple(_name(bit) for bit in bits if self & bit)

    @property
    def invalidates(self) -> bool:
        """True if heat or the power supply slowed the GPU, so that a run says nothing about the code."""
        return bool(self & _INVALIDATING)


_INVALIDATING = Throttle.HW_SLOWDOWN | Throttle.SW_THERMAL | Throttle.HW_THERMAL | Throttle.POWER_BRAKE


def _name(bit: int) -> str:
    name = Throttle(bit).name
    return name.lower().replace("_", " ") if name else hex(bit)
