"""A moving heart vector that draws 12-lead ECGs: the signal half of the synthetic data set.

The model, in four steps:

1. Each wave of a beat is a Gaussian bump over time, with one amplitude per axis of the heart vector (the sum of
   Gaussians of McSharry et al. 2003, doi 10.1109/TBME.2003.808805, taken to three axes as in Sameni et al. 2007,
   doi 10.1155/2007/43407).
2. A finding (say an inferior infarction) moves, scales or adds waves: see ``heart_waves``.
3. Dower's matrix (Dower, Machado and Osborne 1980, doi 10.1002/clc.1980.3.2.87; its inverse: Edenbrandt and Pahlm 1988,
   doi 10.1016/0022-0736(88)90113-6) projects the vector to the eight independent leads, slightly changed per patient.
4. Einthoven's and Goldberger's equations give the other four leads.

Axes: x to the patient's left, y to the feet, z to the back. Units: mV, s, degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ecg_lightning.data.heart_waves import (
    FINDINGS,
    INFARCT,
    LATE,
    N_ATRIAL,
    NORMAL_SPREAD_MV,
    NORMAL_WAVES,
    QRS,
    ST,
    T_PEAK,
    T_WAVE,
    FloatArray,
    Heart,
    turn,
)

DURATION_S = 10.0
UNITS_PER_MV = 1000.0
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Rows I, II, V1..V6; columns x, y, z (Dower 1980).
DOWER_83 = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

_QRS_ONSET_S = -0.050
_T_END_AFTER_PEAK_S = 0.080
_BEAT_STARTS_S = 0.13  # before the R peak: a sample from here on belongs to the next beat
_MAINS_HZ = 50
_WARP_FROM_S = 0.06  # only what follows the QRS stretches with the heart rate


@dataclass(frozen=True)
class Patient:
    """The properties that all records of one patient share.

    Attributes:
        age: Age in years.
        sex: 0 for male, 1 for female, as PTB-XL codes it.
        axis_deg: Turn of the QRS vector in the frontal plane, degrees, positive to the right.
        rotation_deg: Turn of the QRS vector in the horizontal plane, degrees, positive to the back.
        voltage: Scale of the QRS.
        t_gain: Scale of the T wave.
        qrs_width: Scale of the QRS duration.
        pr_s: Time from the middle of the P wave to the R peak, s.
        qtc_s: QT interval at 60 beats a minute, s.
        st_extra_mv: Normal variation of the ST segment (early repolarisation), mV along x, y, z, shape (3,).
        leads_83: The patient's own lead matrix, shape (8, 3), rows I, II, V1..V6.
    """

    age: int
    sex: int
    axis_deg: float
    rotation_deg: float
    voltage: float
    t_gain: float
    qrs_width: float
    pr_s: float
    qtc_s: float
    st_extra_mv: FloatArray
    leads_83: FloatArray


@dataclass(frozen=True)
class Rhythm:
    """Rate and regularity of one rhythm statement.

    Attributes:
        rate_bpm: Mean and standard deviation of the heart rate, beats a minute.
        rate_range_bpm: The rates that the statement allows.
        breathing: Mean of ``Heart.rr_breathing``.
        jitter: ``Heart.rr_jitter``.
        fibrillation: Whether the atria fibrillate: no P wave, an irregular rhythm.
    """

    rate_bpm: tuple[float, float]
    rate_range_bpm: tuple[float, float]
    breathing: float = 0.03
    jitter: float = 0.012
    fibrillation: bool = False


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the disturbances of one record, mV: baseline wander, muscles, mains."""

    wander_mv: float
    muscle_mv: float
    mains_mv: float


# Sinus bradycardia and tachycardia by the usual limits of 60 and 100 beats a minute.
RHYTHMS: dict[str, Rhythm] = {
    "SR": Rhythm((72, 11), (60, 99)),
    "SBRAD": Rhythm((54, 4), (42, 59)),
    "STACH": Rhythm((112, 9), (101, 140)),
    "SARRH": Rhythm((70, 9), (55, 95), breathing=0.14, jitter=0.02),
    "AFIB": Rhythm((88, 20), (55, 145), breathing=0.0, jitter=0.19, fibrillation=True),
}


def draw_patient(rng: Generator, healthy: bool) -> Patient:
    """Draw a patient. Healthy patients are younger on average, as in PTB-XL."""
    age = int(np.clip(rng.normal(*((52, 17) if healthy else (67, 13))), 17, 96))
    sex = int(rng.random() < (0.54 if healthy else 0.43))
    youth = np.clip((60 - age) / 40, 0.0, 1.0)
    # Electrodes are never exactly in place, and torsos differ, so each coefficient varies a little.
    leads_83 = DOWER_83 * rng.normal(1.0, 0.14, (8, 1)) + rng.normal(0.0, 0.10, (8, 3))
    early_repolarisation = float(rng.exponential(0.035 + 0.04 * youth * (1 - sex)))
    return Patient(
        age=age,
        sex=sex,
        axis_deg=float(np.clip(rng.normal(2 - 0.50 * (age - 50), 20), -55, 50)),
        rotation_deg=float(rng.normal(0, 11)),
        voltage=float(np.exp(rng.normal(-0.04 * sex + 0.10 * youth, 0.23))),
        t_gain=float(np.exp(rng.normal(0.18 * youth - 0.08 * sex, 0.38))),
        qrs_width=float(np.clip(rng.normal(1.0 - 0.04 * sex, 0.08), 0.8, 1.2)),
        pr_s=float(np.clip(rng.normal(0.125 + 0.0003 * (age - 50), 0.016), 0.09, 0.175)),
        qtc_s=float(rng.normal(0.405 + 0.012 * sex, 0.016)),
        st_extra_mv=np.array([0.5, 0.5, -1.0]) * early_repolarisation + rng.normal(0.0, 0.018, 3),
        leads_83=leads_83,
    )


def draw_heart(patient: Patient, severities: Mapping[str, float], rhythm: Rhythm, rng: Generator) -> Heart:
    """Draw the waves of one record.

    Args:
        patient: The patient.
        severities: The strength of each finding by SCP-ECG code, from 0 (not visible) to about 1 (clear). Codes without
            an entry in ``FINDINGS`` change nothing.
        rhythm: The rhythm.
        rng: The record's own random numbers.

    Returns:
        The heart, ready to be drawn by ``draw_signal``.
    """
    rate_bpm = float(np.clip(rng.normal(*rhythm.rate_bpm), *rhythm.rate_range_bpm))
    rr_s = 60.0 / rate_bpm
    heart = Heart(
        waves=NORMAL_WAVES.copy(),
        pr_s=patient.pr_s,
        # Fridericia 1920: QT = QTc * RR^(1/3). Bazett's root would bend T too much at the extremes.
        qt_s=patient.qtc_s * rr_s ** (1 / 3),
        rr_s=rr_s,
        rr_jitter=rhythm.jitter,
        rr_breathing=rhythm.breathing * float(rng.uniform(0.5, 1.5)),
    )
    if rhythm.fibrillation:
        heart.flutter_mv = float(rng.uniform(0.015, 0.05))
    waves = heart.waves
    waves[QRS, :3] *= patient.voltage
    waves[QRS, 3:] *= patient.qrs_width
    waves[T_WAVE, :3] *= patient.t_gain
    waves[:N_ATRIAL, :3] *= rng.uniform(0.7, 1.3)
    waves[ST, :3] += patient.st_extra_mv
    turn(waves, 0, 1, patient.axis_deg)
    turn(waves, 0, 2, patient.rotation_deg)
    waves[:, :3] *= rng.normal(1.0, 0.14, (len(waves), 3))
    # Normal hearts too have small Q waves, a trace of r' and T waves of many directions.
    waves[[INFARCT, LATE, T_PEAK], :3] += rng.normal(0.0, 1.0, (3, 3)) * NORMAL_SPREAD_MV
    for code, change in FINDINGS.items():  # the order of the table: blocks before infarcts before ST and T
        if code in severities:
            change(heart, severities[code], rng)
    waves[T_WAVE, 3] += heart.qt_s + _QRS_ONSET_S - _T_END_AFTER_PEAK_S
    return heart


def qrs_axis_deg(heart: Heart, patient: Patient) -> float:
    """Return the frontal QRS axis in degrees (-180..180), from the net QRS areas of I and aVF."""
    area_3 = (heart.waves[QRS, :3] * heart.waves[QRS, 4:]).sum(axis=0)
    lead_i, lead_ii = patient.leads_83[:2] @ area_3
    # aVF = II - I / 2, and as a unipolar lead it is smaller than a bipolar one by sqrt(3) / 2.
    return float(np.degrees(np.arctan2((lead_ii - lead_i / 2) * 2 / np.sqrt(3), lead_i)))


def draw_noise(rng: Generator) -> Noise:
    """Draw a record's noise levels; some are plainly bad, as in PTB-XL (about 7 % drifting, 15 % with static noise)."""
    drifting, shaking = rng.random(2) < (0.07, 0.12)
    wander, muscle, mains = np.exp(rng.normal(0.0, 0.45, 3))
    return Noise(
        wander_mv=float(wander) * (0.11 if drifting else 0.025),
        muscle_mv=float(muscle) * (0.028 if shaking else 0.008),
        mains_mv=float(mains) * 0.004,
    )


def draw_signal(heart: Heart, patient: Patient, noise: Noise, rate_hz: int, rng: Generator) -> NDArray[np.int16]:
    """Draw the ten seconds of one record.

    Beats and baseline draw their random numbers before the noise, because the number of noise values depends on the
    rate. Records at two rates therefore show the same beats if their generators have the same seed.

    Args:
        heart: Waves and rhythm.
        patient: The patient, with the lead matrix.
        noise: The noise levels.
        rate_hz: Samples per second.
        rng: The random numbers.

    Returns:
        Samples in units of 1 µV, shape (10 * rate_hz, 12), leads in the order of ``LEADS``.
    """
    time_s = np.arange(round(DURATION_S * rate_hz)) / rate_hz
    breathing_hz = float(rng.uniform(0.18, 0.35))
    r_peaks_s, rr_s = _beats(heart, breathing_hz, rng)
    beat_gain = 1.0 + rng.normal(0.0, 0.025, len(r_peaks_s))
    offsets_84 = rng.normal(0.0, noise.wander_mv, (8, 4)) * (1.0, 0.3, 1.0, 0.6)
    wander_hz = np.array([breathing_hz, 2 * breathing_hz, rng.uniform(0.03, 0.10), rng.uniform(0.10, 0.18)])
    wander_4T = np.sin(2 * np.pi * (wander_hz[:, None] * time_s + rng.random((4, 1))))

    vector_3T = _heart_vector(heart, time_s, r_peaks_s, rr_s, beat_gain)
    if heart.flutter_mv:
        vector_3T += _flutter(heart.flutter_mv, time_s, rng)
    leads_8T = patient.leads_83 @ vector_3T + offsets_84 @ wander_4T
    leads_8T += rng.standard_normal(leads_8T.shape) * (noise.muscle_mv * rng.uniform(0.6, 1.4, (8, 1)))
    if rate_hz > 2 * _MAINS_HZ:  # at 100 Hz the anti-aliasing filter has removed the mains hum
        mains_mv = rng.normal(0.0, noise.mains_mv, (8, 1))
        leads_8T += mains_mv * np.sin(2 * np.pi * (_MAINS_HZ * time_s + rng.random()))
    return _twelve_leads(leads_8T)


def _beats(heart: Heart, breathing_hz: float, rng: Generator) -> tuple[FloatArray, FloatArray]:
    """Return the times of the R peaks, s, and the RR interval before each, s; both of shape (beats,)."""
    count = int(DURATION_S / (0.7 * heart.rr_s)) + 5
    phase = 2 * np.pi * (breathing_hz * heart.rr_s * np.arange(count) + rng.random())
    change = heart.rr_breathing * np.sin(phase) + heart.rr_jitter * rng.standard_normal(count)
    rr_s = heart.rr_s * np.clip(1.0 + change, 0.6, 1.7)
    start_s = -heart.rr_s * (1.5 + rng.random())  # the beats begin before the first sample
    return start_s + np.cumsum(rr_s), rr_s


def _heart_vector(
    heart: Heart, time_s: FloatArray, r_peaks_s: FloatArray, rr_s: FloatArray, beat_gain: FloatArray
) -> FloatArray:
    """Return the heart vector in mV, shape (3, T): for each sample, the sum of the Gaussians of its beat."""
    beat = np.searchsorted(r_peaks_s - _BEAT_STARTS_S, time_s, side="right") - 1
    after_r_s = time_s - r_peaks_s[beat]
    stretch = (rr_s / heart.rr_s)[beat] ** (1 / 3)  # Fridericia, beat by beat
    late_s = np.maximum(after_r_s - _WARP_FROM_S, 0.0)
    after_r_s += late_s / stretch - late_s

    p_waves_s = r_peaks_s - heart.pr_s  # on their own clock: at a long PR or a high rate, P may fall into T
    after_p_s = time_s - p_waves_s[np.searchsorted((p_waves_s[1:] + p_waves_s[:-1]) / 2, time_s)]

    centre, width = heart.waves[:, 3:4], heart.waves[:, 4:5]
    bumps_WT = np.empty((len(heart.waves), len(time_s)))
    bumps_WT[:N_ATRIAL] = after_p_s
    bumps_WT[N_ATRIAL:] = after_r_s
    bumps_WT -= centre
    bumps_WT /= width
    np.exp(-0.5 * bumps_WT * bumps_WT, out=bumps_WT)
    bumps_WT[N_ATRIAL:] *= beat_gain[beat]
    if heart.flutter_mv:
        bumps_WT[:N_ATRIAL] = 0.0
    return heart.waves[:, :3].T @ bumps_WT


def _flutter(amplitude_mv: float, time_s: FloatArray, rng: Generator) -> FloatArray:
    """Return the fibrillatory waves of the atria, mV, shape (3, T): 5 to 9 Hz, largest in V1."""
    wander = 2.0 * np.sin(2 * np.pi * (rng.uniform(0.3, 0.9) * time_s + rng.random()))
    waves = [np.sin(2 * np.pi * (rng.uniform(5, 9) * time_s + rng.random()) + wander) for _ in range(2)]
    return amplitude_mv * np.outer((0.2, 0.5, -0.9), waves[0]) + amplitude_mv * np.outer((0.1, 0.3, -0.5), waves[1])


def _twelve_leads(leads_8T: FloatArray) -> NDArray[np.int16]:
    """Round the eight independent leads and derive the others from them.

    Einthoven 1912: III = II - I. Goldberger 1942: aVR = -(I + II) / 2, aVL = (I - III) / 2, aVF = (II + III) / 2.

    Args:
        leads_8T: I, II, V1..V6 in mV, shape (8, T).

    Returns:
        Units of 1 µV, shape (T, 12). III = II - I holds exactly, the others up to the rounding of a half.
    """
    units_8T = np.rint(np.clip(leads_8T * UNITS_PER_MV, -15_000, 15_000))
    lead_i, lead_ii = units_8T[0], units_8T[1]
    lead_iii = lead_ii - lead_i
    units_T12 = np.empty((leads_8T.shape[1], 12), dtype="<i2")
    units_T12[:, 0] = lead_i
    units_T12[:, 1] = lead_ii
    units_T12[:, 2] = lead_iii
    units_T12[:, 3] = np.rint(-(lead_i + lead_ii) / 2)
    units_T12[:, 4] = np.rint((lead_i - lead_iii) / 2)
    units_T12[:, 5] = np.rint((lead_ii + lead_iii) / 2)
    units_T12[:, 6:] = units_8T[2:].T
    return units_T12
