"""Labels as people write them, and which class they say is fake."""

import pytest

from brevitas_defakeq.detectors.class_labels import class_order, meaning_of


@pytest.mark.parametrize(
    ("meaning", "labels"),
    [
        ("fake", "Fake DeepFake deepfake ai AI-generated-human artificial spoof Synthetic gan_face not_real "
                 "unreal altered inauthentic face-swap Faceswap sd-generated FAKE print_attack"),
        ("real", "Real realism real_face live bona_fide BonaFide human human-generated genuine notFake "
                 "non-fake unaltered original pristine in_real_life camera"),
        (None, "LABEL_0 olive airplane realistic print 0"),
    ],
)  # fmt: skip
def test_words(meaning, labels):
    assert {label: meaning_of(label) for label in labels.split()} == dict.fromkeys(labels.split(), meaning)


@pytest.mark.parametrize(
    ("labels", "order", "said"),
    [
        (["fake", "real"], {"fake_index": 0}, ""),
        (["real", "not real"], {"fake_index": 1}, ""),
        (["artificial", "hum"], {"fake_index": 0}, "class 0 is taken for fake; --fake-index changes that"),
        (["live", "print", "replay"], {"real_index": 0}, "class 0 is taken for real; --real-index"),
        (["deepfake", "face swap", "real"], {"real_index": 2}, ""),
        (["real man", "real woman", "fake"], {"fake_index": 2}, ""),
        (["LABEL_0", "LABEL_1"], {}, "(0: LABEL_0, 1: LABEL_1) do not say which class means fake"),
        (["real one", "real two"], {}, "--fake-index"),
        (["fake"], {}, "--fake-index"),
        ([], {}, "(none) do not say"),
        ([*(f"thing {index}" for index in range(20)), "live"], {}, "--fake-index"),
    ],
)
def test_orders(labels, order, said, tmp_path, caplog):
    assert class_order(dict(enumerate(labels)), tmp_path / "config.json") == order
    assert said in caplog.text and bool(said) == bool(caplog.text)
