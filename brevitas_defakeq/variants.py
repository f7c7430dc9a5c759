"""The models of one run: M_q, M_q^v and the float detector."""

#: Models that a run holds: M_q, and M_q^v with VEFT's channels restored.
QUANTIZED_VARIANTS = ("quantized", "mixed")
#: Models that can be evaluated and exported; the float one needs its own weights.
VARIANTS = (*QUANTIZED_VARIANTS, "float")
