"""Names in a cluster: legal whatever a model is called, and never two alike."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.ids import ModelName
from springtide.fleet import labels

words = st.text("abcz09", min_size=1, max_size=20)
models = st.lists(words, min_size=1, max_size=5).flatmap(
    lambda parts: st.lists(st.sampled_from("-_."), min_size=len(parts), max_size=len(parts)).map(
        lambda seams: ("m" + "".join(part + seam for part, seam in zip(parts, seams, strict=True)))[:64].rstrip("-_.")
    )
)


@given(models)
def test_names_and_label_values_are_legal_for_any_model(model: str) -> None:
    name = labels.worker_name("springtide", model)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) + len("-7d4f8c9b5d-x2k4q") <= 63  # a pod's host name, uncut
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", labels.label_value(model))


@given(models, models)
def test_two_models_never_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert labels.worker_name("s", one) != labels.worker_name("s", other)
        assert labels.label_value(one) != labels.label_value(other)


def test_models_that_differ_only_in_a_dot_have_two_names() -> None:
    assert labels.worker_name("s", "a.b") != labels.worker_name("s", "a-b")
    assert labels.worker_name("springtide", "digital-human") == "springtide-worker-digital-human"
    assert labels.worker_name("springtide", "speech", "v2") == "springtide-worker-speech--v2"
    assert labels.worker_name("springtide", "speech", "v2") != labels.worker_name("springtide", "speech-v2")


def test_a_worker_in_a_pod_is_named_after_it() -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert labels.pod_worker({**pod, "POD_NAME": "springtide-speech-7d4f8c9b5d-x2k4q"}, "host") == (
        "springtide-speech-7d4f8c9b5d-x2k4q"
    )
    assert labels.pod_worker(pod, "its-host-name") == "its-host-name"
    assert labels.pod_worker({"POD_NAME": "x"}, "laptop") is None


def test_a_version_that_is_scaled_by_itself_has_a_name_of_its_own() -> None:
    speech = ModelName("speech")
    assert labels.unit(speech, labels.STABLE) == labels.unit(speech) == speech
    assert labels.unit(speech, "2") == "speech@2"
    assert labels.parts(labels.unit(speech, "2")) == (speech, "2")
    assert labels.parts(speech) == (speech, labels.STABLE)


def test_selectors_narrow_from_all_workers_to_a_version() -> None:
    every = labels.worker_selector("s")
    model = labels.worker_selector("s", "speech")
    one = labels.worker_selector("s", "speech", "v2")
    assert every.items() < model.items() < one.items()
    assert labels.as_query(every) == (
        "app.kubernetes.io/name=springtide,app.kubernetes.io/instance=s,app.kubernetes.io/component=worker"
    )
