"""What panels say: words, codes, units, readings and scales."""

from __future__ import annotations

import numpy as np

Rng = np.random.Generator

_WORDS = """
START STOP RESET POWER PUMP FAN VALVE MOTOR HEATER ALARM FAULT READY RUN AUTO MANUAL OFF ON LOW HIGH
LEVEL TEMP FLOW PRESS SPEED OPEN CLOSE TEST MODE SET MAIN LINE LOAD BATT CHARGE DOOR LIGHT LAMP
BRAKE COOLER DRAIN TANK FILTER MIXER OIL WATER AIR GAS STEAM INLET OUTLET SUPPLY RETURN REMOTE LOCAL
LOCK PHASE RELAY TIMER CYCLE BYPASS VENT FUSE EARTH GEN GRID FEED ZONE UNIT TRIP ENABLE DANGER
WARNING CAUTION VOLTAGE CURRENT INPUT OUTPUT BUS DRIVE SENSOR STATUS ERROR LINK BOOST JOG UP DOWN
LEFT RIGHT FORWARD REVERSE HOLD CLEAR QUEUE XFER
"""
_UNITS = """
V mV kV A mA W kW kWh Hz kHz °C °F bar mbar kPa MPa psi rpm % L/min m/s min mm dB pH kVA mm/s kg Nm
VA
"""
WORDS, UNITS = _WORDS.split(), _UNITS.split()
_VALUES = ["12", "24", "48", "110", "230", "400", "0.5", "1.5", "2.2", "16", "50", "60"]
_SCALES = ["1:6", "2:5", "10:6", "20:5", "50:5", "100:6", "0.5:6", "5:8", "1:10", "25:4"]
# I, O and Q are left out of codes, as on real labels: nobody can tell them from 1 and 0
_CODE = "ABCDEFGHJKLMNPRSTUVWXYZ"


def _one(rng: Rng, options: list[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _digits(rng: Rng, count: int) -> str:
    return "".join(str(d) for d in rng.integers(0, 10, count))


def _capitals(rng: Rng, count: int) -> str:
    return "".join(_CODE[i] for i in rng.integers(0, len(_CODE), count))


def word(rng: Rng) -> str:
    """Return a short caption."""
    text = _one(rng, WORDS)
    return f"{text} {rng.integers(1, 10)}" if rng.random() < 0.2 and len(text) < 7 else text


def code(rng: Rng) -> str:
    """Return a part, serial or terminal code."""
    match int(rng.integers(7)):
        case 0:
            return f"{_capitals(rng, 1)}{_digits(rng, int(rng.integers(1, 4)))}"
        case 1:
            return f"{_capitals(rng, 2)}-{_digits(rng, 3)}"
        case 2:
            return f"SN {_digits(rng, 5)}"
        case 3:
            return f"{_capitals(rng, int(rng.integers(3, 6)))}"
        case 4:
            return f"{_digits(rng, 3)}-{_digits(rng, 2)}{_capitals(rng, 1)}"
        case 5:
            return f"No. {_digits(rng, int(rng.integers(1, 4)))}"
        case _:
            return (
                f"{_capitals(rng, 1)}{rng.integers(1, 10)}/{_capitals(rng, 1)}{rng.integers(1, 10)}"
            )


def rating(rng: Rng) -> str:
    """Return a value with its unit."""
    unit = _one(rng, UNITS)
    value = _one(rng, _VALUES)
    if rng.random() < 0.5:
        value = f"{rng.integers(1, 1000)}"
    return f"{value}{'' if unit == '%' else ' '}{unit}"


def plate(rng: Rng) -> str:
    """Return what a label plate says: one line of at most 12 characters."""
    share = rng.random()
    if share < 0.4:
        return word(rng)
    if share < 0.65:
        return code(rng)
    if share < 0.85:
        return rating(rng)
    first, second = _one(rng, WORDS), _one(rng, WORDS)
    both = f"{first} {second}"
    if len(both) <= 12:
        return both
    return f"{first}!" if rng.random() < 0.3 else first


def caption(rng: Rng) -> str:
    """Return what is printed beside a button, a switch or a lamp."""
    return word(rng) if rng.random() < 0.8 else code(rng)


def reading(rng: Rng) -> str:
    """Return what a seven-segment display shows; it may begin with spaces."""
    share = rng.random()
    count = int(rng.integers(2, 6))
    if share < 0.12:
        return f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}"
    digits = _digits(rng, count)
    if count > 2 and rng.random() < 0.6:
        point = int(rng.integers(1, count))
        whole = digits[:point]
        digits = (whole.lstrip("0") or "0") + "." + digits[point:]
    elif rng.random() < 0.6:
        digits = digits.lstrip("0") or "0"
    if rng.random() < 0.12:
        digits = f"-{digits}"
    return digits if rng.random() < 0.75 else f" {digits}"


def gauge_scale(rng: Rng) -> tuple[list[str], str]:
    """Return the numbers round a dial and its unit."""
    step, count = _one(rng, _SCALES).split(":")
    numbers = [f"{float(step) * i:g}" for i in range(int(count) + 1)]
    return numbers, _one(rng, UNITS)
