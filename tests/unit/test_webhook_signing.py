"""Signatures by Standard Webhooks, checked against the standard's own library in both directions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Reference
from standardwebhooks import WebhookVerificationError

from springtide.domain.ids import ModelName, TenantId
from springtide.domain.webhook import JobEnd, SigningSecret, Webhook, WebhookId
from springtide.webhooks import WebhookRefused, sign_webhook, verify_webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the standard's own examples
OTHER = "whsec_" + "QUJD" * 12
BODY = json.dumps({"type": "job.completed", "data": {"note": "猫"}}, ensure_ascii=False).encode()
NOW_S = 1_614_265_330.0


def headers(secret: str = SECRET, *, body: bytes = BODY, at_s: float = NOW_S) -> dict[str, str]:
    signature = sign_webhook(secret, message_id="msg_1", timestamp=int(at_s), body=body)
    return {"Webhook-Id": "msg_1", "webhook-timestamp": str(int(at_s)), "WEBHOOK-SIGNATURE": signature}


def test_the_example_of_the_standard_comes_out() -> None:
    signature = sign_webhook(
        SECRET, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_takes_what_we_sign_and_we_what_it_signs() -> None:
    now_s = time.time()
    ours = {name.lower(): value for name, value in headers(at_s=now_s).items()}
    assert Reference(SECRET).verify(BODY, ours) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Reference(OTHER).verify(BODY, ours)
    at = datetime.fromtimestamp(int(now_s), UTC)
    theirs = {
        "webhook-id": "msg_2",
        "webhook-timestamp": str(int(now_s)),
        "webhook-signature": Reference(SECRET).sign("msg_2", at, BODY.decode()),
    }
    assert verify_webhook(SECRET, theirs, BODY) == json.loads(BODY)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said.pop("Webhook-Id"),
        lambda said: said.pop("webhook-timestamp"),
        lambda said: said.pop("WEBHOOK-SIGNATURE"),
        lambda said: said.update({"Webhook-Id": "msg_other"}),
        lambda said: said.update({"webhook-timestamp": str(int(NOW_S) + 1)}),
        lambda said: said.update({"webhook-timestamp": "soon"}),
        lambda said: said.update({"WEBHOOK-SIGNATURE": "v1,AAAA v1a,xyz nonsense ü"}),
        lambda said: said.update({"WEBHOOK-SIGNATURE": said["WEBHOOK-SIGNATURE"].replace("v1,", "v2,")}),
    ],
)
def test_whatever_was_changed_is_refused(spoil: Callable[[dict[str, str]], object]) -> None:
    said = headers()
    verify_webhook(SECRET, said, BODY, now_s=NOW_S)
    spoil(said)
    with pytest.raises(WebhookRefused):
        verify_webhook(SECRET, said, BODY, now_s=NOW_S)


def test_a_changed_body_another_secret_and_an_old_message_are_refused() -> None:
    for secret, body, now_s in (
        (SECRET, BODY + b" ", NOW_S),
        (OTHER, BODY, NOW_S),
        (SECRET, BODY, NOW_S + 301),
        (SECRET, BODY, NOW_S - 301),
    ):
        with pytest.raises(WebhookRefused):
            verify_webhook(secret, headers(), body, now_s=now_s)
    assert verify_webhook(SECRET, headers(), BODY.decode(), now_s=NOW_S + 299) == json.loads(BODY)


def test_while_a_secret_is_changed_either_side_may_go_first() -> None:
    both = headers()
    both["WEBHOOK-SIGNATURE"] = f"{headers(OTHER)['WEBHOOK-SIGNATURE']} {both['WEBHOOK-SIGNATURE']}"
    for known in (SECRET, OTHER, [OTHER, SECRET]):
        assert verify_webhook(known, both, BODY, now_s=NOW_S)
    assert verify_webhook([OTHER, SECRET], headers(), BODY, now_s=NOW_S)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_@@@@", "whsec_" + "QUJD" * 30])
def test_a_secret_that_is_none_is_told(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        sign_webhook(secret, message_id="m", timestamp=1, body=b"")


def test_a_secret_that_has_expired_signs_no_more() -> None:
    hook = Webhook(
        id=WebhookId("wh_1"),
        tenant=TenantId("t"),
        url="https://x.example/",
        events=(JobEnd.FAILED,),
        models=(ModelName("m"),),
        secrets=(SigningSecret(key="new"), SigningSecret(key="old", expires_at_s=10.0)),
        base_url="",
        created_at_s=0.0,
    )
    assert hook.keys(9.0) == ["new", "old"] and hook.keys(10.0) == ["new"]
