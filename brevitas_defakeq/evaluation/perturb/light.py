"""Low light: less of it on the sensor, so its own noise shows."""

import numpy as np

#: Photons that full brightness brings, and the noise of reading the sensor where full brightness is 1.
PHOTONS, READ_NOISE = 1000, 0.005


def low_light(pixels: np.ndarray, gain: float, generator: np.random.Generator) -> np.ndarray:
    """Linear light times ``gain``, with shot and read noise, back to sRGB."""
    dark = gain * to_linear(pixels / 255)
    sensed = generator.poisson(PHOTONS * dark) / PHOTONS + READ_NOISE * generator.standard_normal(
        pixels.shape
    )
    return np.rint(255 * to_srgb(sensed.clip(0, 1))).astype(np.uint8)


def to_linear(values: np.ndarray) -> np.ndarray:
    """sRGB values 0..1 as linear light 0..1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 as sRGB values 0..1."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
