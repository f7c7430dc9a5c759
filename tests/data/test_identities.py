"""People in a video, from its name."""

import pytest

from brevitas_defakeq.data.identities import identities


@pytest.mark.parametrize(
    ("dataset", "video", "people"),
    [
        ("FaceForensics++", "FF-real/c23/000", ["FaceForensics++ 000"]),
        ("FF-NT", "FF-NT/c40/003_000", ["FaceForensics++ 000", "FaceForensics++ 003"]),
        ("FaceShifter", "FF-FH/raw/000_003", ["FaceForensics++ 000", "FaceForensics++ 003"]),
        ("DeepFakeDetection", "DFD_real/c23/01__exit_phone_room", ["DeepFakeDetection 01"]),
        (
            "DeepFakeDetection",
            "DFD_fake/c23/01_02__exit_phone_room__YVGY8LOK",
            ["DeepFakeDetection 01", "DeepFakeDetection 02"],
        ),
        ("Celeb-DF-v1", "CelebDFv1_real/id0_0000", ["Celeb-DF id0"]),
        ("Celeb-DF-v2", "CelebDFv2_fake/id0_id16_0003", ["Celeb-DF id0", "Celeb-DF id16"]),
        ("Celeb-DF-v2", "CelebDFv2_real/00170", []),
        ("DFDCP", "DFDCP_Real/643024_A_000", ["DFDCP 643024"]),
        ("DFDCP", "DFDCP_FakeB/1224068_1160368_C_002", ["DFDCP 1160368", "DFDCP 1224068"]),
        ("UADFV", "UADFV_Fake/0007_fake", ["UADFV 0007"]),
        ("UADFV", "UADFV_Real/0007", ["UADFV 0007"]),
        ("DFDC", "DFDC_Fake/aaqqaqsqii", []),
        ("holiday", "real/000", []),
        ("FaceForensics++", "FF-DF/c23/000_003_2", []),
    ],
)
def test_names(dataset, video, people):
    assert sorted(identities(dataset, video)) == people
