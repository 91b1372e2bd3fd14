"""Requests as the vendors' own Python SDKs sign them: one JSON object a line, as sign.mjs writes them.

Nothing here is computed by hand: every signature comes out of a function of the vendor's package.
"""

import base64
import datetime
import hashlib
import json
import sys
import time

import Adyen
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator

PUBLIC_URL = sys.argv[1]
NOW = int(time.time())


def add(vendor, preset, secret, headers, body, content_type="application/json", **more):
    headers = {"content-type": content_type, **headers}
    body = base64.b64encode(body.encode()).decode()
    request = {"vendor": vendor, "preset": preset, "secret": secret, "headers": headers, "body": body, "target": f"/in/{vendor}"}
    print(json.dumps({**request, **more}))


def slack():
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    event = {"type": "event_callback", "event_id": "Ev1", "team_id": "T1", "event": {"type": "app_mention", "channel": "C1"}}
    body = json.dumps({**event, "event_time": NOW})
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(NOW), body=body)
    add("slack-py", "slack", secret, {"x-slack-request-timestamp": str(NOW), "x-slack-signature": signature}, body)


def standard_webhooks():
    secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    body = json.dumps({"type": "user.created", "data": {"id": "u1"}})
    signature = Webhook(secret).sign("msg_1", datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc), body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": signature}
    add("standardwebhooks-py", "standard-webhooks", secret, headers, body)


def twilio():
    secret, vendor = "12f8c1d2aa7b3e4599d0c4b1e6f7a812", "twilio-py"
    body = json.dumps({"call": "CA1", "status": "done"})
    query = f"?bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    signature = RequestValidator(secret).compute_signature(f"{PUBLIC_URL}/in/{vendor}{query}", {})
    add(vendor, "twilio", secret, {"x-twilio-signature": signature}, body, target=f"/in/{vendor}{query}", **{"for": "json"})


def adyen():
    secret = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
    item = {"pspReference": "7914073381342284", "originalReference": "", "merchantAccountCode": "TestMerchant"}
    item |= {"merchantReference": "TestPayment", "amount": {"value": 1130, "currency": "EUR"}}
    item |= {"eventCode": "AUTHORISATION", "success": "true", "eventDate": "2026-11-26T04:00:00+00:00"}
    signature = Adyen.util.generate_notification_sig(item, secret)
    item["additionalData"] = {"hmacSignature": signature.decode() if isinstance(signature, bytes) else signature}
    body = json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})
    add("adyen-py", "adyen", secret, {}, body, flip="TestPayment")


def http_message_signatures():
    secret, vendor = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBt", "rfc9421-py"

    class Keys(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id):
            return secret.encode()

        resolve_public_key = resolve_private_key

    class Request:
        method, url, body = "POST", f"{PUBLIC_URL}/in/{vendor}", json.dumps({"id": "e1", "type": "user.created"})
        headers = {"Content-Type": "application/json"}

    signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
    signer.sign(
        Request,
        key_id="sdk",
        created=datetime.datetime.fromtimestamp(NOW),
        covered_component_ids=("@method", "@target-uri", "content-digest"),
        body=Request.body.encode(),
    )
    headers = {name.lower(): value for name, value in Request.headers.items()}
    signature = """algorithm = "http-message-signatures"
secret = { as = "text" }
http_message = { components = ["@method", "@target-uri", "content-digest"], algorithm = "hmac-sha256" }
assurance = "full"
"""
    identify = """
[identify]
external_id = "body.id"
event_type = "body.type"
"""
    add(vendor, None, secret, headers, Request.body, signature=signature, identify=identify)


for sign in (slack, standard_webhooks, twilio, adyen, http_message_signatures):
    sign()
