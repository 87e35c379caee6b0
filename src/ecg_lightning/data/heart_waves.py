"""The waves of a heartbeat, and the findings that move, scale or add them.

Each wave is a Gaussian bump over time, with one amplitude per axis of the heart vector: x to the patient's left, y to
the feet, z to the back. Units: mV, s, degrees. The amplitudes of waves and findings are this project's own. They were
set by eye and by the median lead amplitudes of PTB-XL. The shapes follow textbook criteria (Surawicz and Knilans,
"Chou's Electrocardiography in Clinical Practice"). They carry no medical meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# The waves of one beat; the first two follow the atria, the others the ventricles.
P_RIGHT, P_LEFT, SEPTAL, MAIN, BASAL, LATE, INFARCT, ST, T_RISE, T_PEAK = range(10)
N_ATRIAL = 2
QRS = [SEPTAL, MAIN, BASAL, LATE, INFARCT]
T_WAVE = [T_RISE, T_PEAK]

# One row per wave: amplitude x, y, z (mV), centre (s after the R peak), standard deviation (s).
NORMAL_WAVES = np.array(
    [
        [0.030, 0.060, -0.035, -0.012, 0.020],  # P_RIGHT (centre: after the middle of the P wave)
        [0.045, 0.045, 0.030, 0.014, 0.020],  # P_LEFT
        [-0.14, -0.06, -0.32, -0.030, 0.0095],  # SEPTAL: the r of V1, the q of V6
        [1.22, 0.72, 0.26, 0.000, 0.0125],  # MAIN: the free wall of the left ventricle
        [-0.13, -0.08, 0.82, 0.021, 0.0120],  # BASAL: the S of V1-V3
        [0.0, 0.0, 0.0, 0.050, 0.0180],  # LATE: only with a block
        [0.0, 0.0, 0.0, -0.024, 0.0125],  # INFARCT: forces lost in the first 40 ms, the Q wave
        [0.02, 0.02, -0.035, 0.115, 0.0450],  # ST
        [0.10, 0.07, -0.07, -0.055, 0.0500],  # T_RISE (centre: before the peak of T)
        [0.19, 0.15, -0.12, 0.000, 0.0350],  # T_PEAK
    ]
)
NORMAL_SPREAD_MV = np.array([[0.07], [0.05], [0.045]])  # standard deviation of INFARCT, LATE, T_PEAK


@dataclass
class Heart:
    """The waves and the rhythm of one record before it is drawn. Findings change them in place.

    Attributes:
        waves: Amplitude x, y, z (mV), centre (s), standard deviation (s) of each wave, shape (10, 5).
        pr_s: Time from the middle of the P wave to the R peak, s.
        qt_s: QT interval at the record's mean heart rate, s.
        rr_s: Mean time between beats, s.
        rr_jitter: Relative standard deviation of single RR intervals.
        rr_breathing: Relative amplitude of the respiratory sinus arrhythmia.
        flutter_mv: Amplitude of the fibrillatory waves of the atria, mV; 0 in sinus rhythm.
    """

    waves: FloatArray
    pr_s: float
    qt_s: float
    rr_s: float
    rr_jitter: float = 0.012
    rr_breathing: float = 0.03
    flutter_mv: float = 0.0

    def add(self, wave: int, x: float, y: float, z: float) -> None:
        """Add a vector in mV to the amplitude of one wave."""
        self.waves[wave, :3] += (x, y, z)

    def add_t(self, x: float, y: float, z: float) -> None:
        """Add a vector in mV to the T wave, shared between its two bumps."""
        self.waves[T_RISE, :3] += (0.35 * x, 0.35 * y, 0.35 * z)
        self.waves[T_PEAK, :3] += (0.75 * x, 0.75 * y, 0.75 * z)


def turn(waves: FloatArray, first: int, second: int, degrees: float) -> None:
    """Turn the main QRS waves and, half as far, the T wave in the plane of two axes."""
    for rows, angle in (([MAIN, BASAL, LATE], np.radians(degrees)), (T_WAVE, np.radians(degrees / 2))):
        a, b = waves[rows, first].copy(), waves[rows, second].copy()
        waves[rows, first] = a * np.cos(angle) - b * np.sin(angle)
        waves[rows, second] = a * np.sin(angle) + b * np.cos(angle)


def _lvh(heart: Heart, s: float, rng: Generator) -> None:
    """Add left ventricular hypertrophy: high voltage (Sokolow and Lyon 1949), with strain in the clear cases."""
    heart.waves[[MAIN, BASAL], :3] *= 1.25 + 0.60 * s
    heart.waves[QRS, 4] *= 1.0 + 0.10 * s
    strain = max(0.0, s - 0.25) * float(rng.uniform(0.3, 1.0))
    heart.add(ST, -0.10 * strain, -0.03 * strain, 0.08 * strain)
    heart.add_t(-0.45 * strain, -0.10 * strain, 0.15 * strain)


def _low_voltage(heart: Heart, s: float, rng: Generator) -> None:
    """Add low voltage: QRS below 0.5 mV in the limb leads."""
    heart.waves[QRS, :3] *= 0.55 - 0.15 * s


def _rvh(heart: Heart, s: float, rng: Generator) -> None:
    """Add right ventricular hypertrophy: axis to the right, tall R in V1, deep S in V6, strain in V1-V3."""
    heart.waves[MAIN, 0] *= 1.0 - 0.65 * s
    heart.waves[BASAL, 2] *= 1.0 - 0.7 * s
    heart.add(MAIN, 0.0, 0.1 * s, -0.75 * s)
    heart.add(BASAL, -0.45 * s, 0.0, 0.0)
    heart.add_t(0.0, 0.0, 0.30 * s * float(rng.uniform(0.5, 1.0)))


def _atrial_overload(heart: Heart, s: float, rng: Generator) -> None:
    """Add left atrial overload: a broad notched P in II, a deep negative end of P in V1 (Morris 1964)."""
    heart.waves[P_LEFT, 3] += 0.016 + 0.02 * s
    heart.add(P_LEFT, 0.03 * s, 0.01, 0.04 + 0.06 * s)


def _lbbb(heart: Heart, s: float, rng: Generator) -> None:
    """Add a complete left bundle branch block.

    The R in I and V6 is broad and notched, the septal q is missing, the S in V1 is deep, and T is opposite to the QRS.
    """
    waves = heart.waves
    size = float(np.linalg.norm(waves[MAIN, :3])) / 1.2
    waves[SEPTAL] = (0.10 * size, 0.10 * size, 0.10 * size, -0.045, 0.016)
    waves[MAIN] = (0.80 * size, 0.25 * size, 0.95 * size, -0.012, 0.0225 + 0.003 * s)
    waves[BASAL] = (0.05 * size, 0.05 * size, 0.45 * size, 0.018, 0.022)
    waves[LATE] = (0.85 * size, 0.05 * size, 0.75 * size, 0.046 + 0.010 * s, 0.0205 + 0.004 * s)
    waves[ST, :3] += np.array([-0.13, -0.03, -0.20]) * size
    waves[T_RISE, :3] = np.array([-0.13, 0.02, -0.15]) * size
    waves[T_PEAK, :3] = np.array([-0.26, 0.02, -0.30]) * size
    heart.qt_s += 0.045


def _rbbb(heart: Heart, s: float, rng: Generator) -> None:
    """Add a complete right bundle branch block: rsR' in V1, broad S in I and V6, T inverted in V1-V2."""
    waves = heart.waves
    waves[BASAL, :3] *= 0.75
    waves[LATE] = (-0.38 - 0.20 * s, -0.05, -0.45 - 0.30 * s, 0.058 + 0.008 * s, 0.0165 + 0.004 * s)
    heart.add_t(0.05, 0.0, 0.24 + 0.10 * s)
    heart.qt_s += 0.035


def _incomplete_rbbb(heart: Heart, s: float, rng: Generator) -> None:
    """Add an incomplete right bundle branch block: a small narrow r' in V1."""
    heart.waves[BASAL, :3] *= 0.85
    heart.waves[LATE] = (-0.16 - 0.18 * s, -0.04, -0.26 - 0.24 * s, 0.047, 0.0105)


def _lafb(heart: Heart, s: float, rng: Generator) -> None:
    """Add a left anterior fascicular block: axis beyond -45 degrees, qR in I and aVL, rS in II, III and aVF."""
    waves = heart.waves
    waves[SEPTAL, 1] = 0.12 + 0.08 * s
    main_xy = float(np.hypot(*waves[MAIN, :2]))
    target = np.radians(-24 - 22 * s + float(rng.normal(0, 5)))
    waves[MAIN, :2] = (main_xy * np.cos(target), main_xy * np.sin(target))
    waves[[MAIN, BASAL], 3] += 0.008
    waves[BASAL, 1] -= 0.20 + 0.20 * s


def _av_block(heart: Heart, s: float, rng: Generator) -> None:
    """Add a first-degree AV block: PR interval above 0.2 s."""
    heart.pr_s = 0.170 + 0.09 * s + float(rng.uniform(0.0, 0.02))


def _ivcd(heart: Heart, s: float, rng: Generator) -> None:
    """Add an unspecific intraventricular conduction disturbance: a broad, slurred QRS."""
    heart.waves[QRS, 3:] *= 1.22 + 0.30 * s
    heart.waves[BASAL, :2] += rng.normal(0.0, 0.18, 2)
    heart.waves[LATE, :3] += rng.normal(0.0, 0.14 + 0.10 * s, 3)


def _infarct(
    lost_mv: tuple[float, float, float], injury_mv: tuple[float, float, float], r_loss: tuple[float, float]
) -> Callable[[Heart, float, Generator], None]:
    """Return a function that adds an infarction.

    The signs are lost forces (Q waves), an injury current (ST) and an ischaemic T away from the wall. The stage is
    drawn: fresh (ST up, small Q), in between (all three) or old (Q and perhaps T, no ST). Old is most frequent.

    Args:
        lost_mv: The vector that the dead wall leaves, mV, at full severity; it points away from the wall.
        injury_mv: The ST vector of a fresh infarction, mV; it points to the wall.
        r_loss: Share of the main vector lost along x and y.
    """

    def change(heart: Heart, s: float, rng: Generator) -> None:
        stage = rng.random()
        q, st, t = (0.6, 1.0, 0.0) if stage < 0.18 else (1.0, 0.45, 1.0) if stage < 0.5 else (1.0, 0.0, 0.4)
        spread = float(rng.uniform(0.8, 1.2))
        size = min(1.3, float(np.linalg.norm(heart.waves[MAIN, :3])) / 1.3)  # a Q grows with the R before it
        heart.waves[INFARCT, :3] += np.array(lost_mv) * (q * s * spread * size)
        heart.waves[SEPTAL, :3] *= 1.0 - min(0.9, 0.8 * s) * (lost_mv[2] > 0.2)
        heart.waves[MAIN, 0] *= 1.0 - min(0.9, r_loss[0] * q * s)
        heart.waves[MAIN, 1] *= 1.0 - min(0.9, r_loss[1] * q * s)
        heart.waves[ST, :3] += np.array(injury_mv) * (st * (0.4 + 0.7 * s) * spread)
        x, y, z = np.array(injury_mv) * (-1.6 * t * s * spread)
        heart.add_t(float(x), float(y), float(z))

    return change


def _st_t(
    st_mv: tuple[float, float, float], t_mv: tuple[float, float, float], t_loss: tuple[float, float], qt_s: float = 0.0
) -> Callable[[Heart, float, Generator], None]:
    """Return a function that adds an ST-T change.

    Args:
        st_mv: The ST vector at full severity, mV: away from the ischaemic wall.
        t_mv: The vector added to T at full severity, mV.
        t_loss: The shares of T that are lost: always, and in addition at full severity. T inverts if the sum exceeds 1.
        qt_s: Lengthening of QT at full severity, s.
    """

    def change(heart: Heart, s: float, rng: Generator) -> None:
        spread = float(rng.uniform(0.75, 1.25))
        heart.waves[ST, :3] += np.array(st_mv) * (s * spread)
        heart.waves[T_WAVE, :3] *= 1.0 - (t_loss[0] + t_loss[1] * s)
        x, y, z = np.array(t_mv) * (s * spread)
        heart.add_t(float(x), float(y), float(z))
        heart.qt_s += qt_s * (0.5 + 0.5 * s)

    return change


_INFERIOR = ((-0.03, -0.80, 0.02), (0.0, 0.20, 0.02), (0.0, 0.40))
_LATERAL = ((-0.65, 0.06, -0.05), (0.18, -0.06, 0.03), (0.30, 0.0))


FINDINGS: dict[str, Callable[[Heart, float, Generator], None]] = {
    "LVH": _lvh,
    "RVH": _rvh,
    "LAO/LAE": _atrial_overload,
    "LVOLT": _low_voltage,
    "CLBBB": _lbbb,
    "IVCD": _ivcd,
    "LAFB": _lafb,
    "CRBBB": _rbbb,
    "IRBBB": _incomplete_rbbb,
    "1AVB": _av_block,
    "IMI": _infarct(*_INFERIOR),
    "ILMI": _infarct((-0.40, -0.62, 0.0), (0.12, 0.13, 0.02), (0.25, 0.35)),
    "ASMI": _infarct((0.05, 0.0, 0.52), (-0.02, 0.0, -0.20), (0.05, 0.0)),
    "AMI": _infarct((-0.20, 0.0, 0.50), (0.05, 0.0, -0.22), (0.30, 0.0)),
    "ALMI": _infarct((-0.50, 0.0, 0.34), (0.14, -0.03, -0.14), (0.45, 0.0)),
    "LMI": _infarct(*_LATERAL),
    "NDT": _st_t((-0.02, -0.02, 0.01), (0.0, 0.0, 0.0), (0.40, 0.75)),
    "NST_": _st_t((-0.12, -0.11, 0.03), (0.0, 0.0, 0.0), (0.15, 0.35)),
    "ISC_": _st_t((-0.13, -0.09, 0.06), (-0.10, -0.05, 0.05), (0.30, 0.80)),
    "ISCAL": _st_t((-0.10, 0.0, 0.10), (-0.36, 0.0, 0.22), (0.20, 0.30)),
    "ISCIN": _st_t((0.0, -0.12, 0.0), (0.0, -0.36, 0.0), (0.15, 0.20)),
    "LNGQT": _st_t((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.10, 0.10), qt_s=0.085),
}
