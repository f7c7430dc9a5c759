"""Saliency: where in an image a detector finds its verdict, and whether a quantized one still looks there.

``saliency_maps`` of two networks of the same detector, ``agreement`` of their maps, ``overlay`` to see them.
"""

from brevitas_defakeq.saliency.map_agreement import agreement
from brevitas_defakeq.saliency.map_overlay import overlay
from brevitas_defakeq.saliency.maps import SaliencyMaps, saliency_maps

__all__ = ["SaliencyMaps", "agreement", "overlay", "saliency_maps"]
