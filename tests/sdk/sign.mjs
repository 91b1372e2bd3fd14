// Requests as the vendors' own Node SDKs sign them: one JSON object a line, which tests/sdk/post.py posts to a gateway.
// Nothing here is computed by hand: every signature comes out of a function of the vendor's package.
import { createHash } from "node:crypto";

const load = (name) => import(name);
const PUBLIC_URL = process.argv[2];
const now = new Date();
const seconds = Math.floor(now.getTime() / 1000);
const json = (value) => JSON.stringify(value);
const requests = [];

/** A request of a vendor; its partner has the same name as the vendor. */
function add(vendor, preset, secret, headers, body, more = {}) {
  const content_type = more.content_type ?? "application/json";
  const all = { "content-type": content_type, ...headers };
  requests.push({ vendor, preset, secret, headers: all, body: Buffer.from(body).toString("base64"), ...more });
}

const target = (vendor, query = "") => `/in/${vendor}${query}`;
const url = (vendor, query = "") => PUBLIC_URL + target(vendor, query);

const { default: Stripe } = await load("stripe");
{
  const secret = "whsec_8f2c61d0b7a94e3f";
  const body = json({ id: "evt_1", object: "event", type: "invoice.paid", created: seconds, data: { object: { id: "in_1" } } });
  const header = new Stripe("sk_test_x").webhooks.generateTestHeaderString({ payload: body, secret });
  add("stripe", "stripe", secret, { "stripe-signature": header }, body);
}

const octokit = await load("@octokit/webhooks-methods");
{
  const secret = "It's a Secret to Everybody";
  const body = json({ action: "opened", repository: { id: 7 } });
  const headers = { "x-github-event": "issues", "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958" };
  add("github", "github", secret, { ...headers, "x-hub-signature-256": await octokit.sign(secret, body) }, body);
}

for (const [vendor, preset, name] of [["standardwebhooks", "standard-webhooks", "webhook"], ["svix", "svix", "svix"]]) {
  const { Webhook } = await load(vendor);
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const body = json({ type: "user.created", timestamp: now.toISOString(), data: { id: "u1" } });
  const signature = new Webhook(secret).sign("msg_1", now, body);
  add(vendor, preset, secret, { [`${name}-id`]: "msg_1", [`${name}-timestamp`]: `${seconds}`, [`${name}-signature`]: signature }, body);
}

const notion = await load("@notionhq/client");
{
  const secret = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";
  const body = json({ id: "367cba44-b6f3-4c92-81e7-6a2e9659efd4", type: "page.created", timestamp: now.toISOString(), entity: { id: "p1", type: "page" } });
  const signature = await notion.signWebhookPayload({ body, verificationToken: secret });
  add("notion", "notion", secret, { "x-notion-signature": signature }, body);
}

const { default: twilio } = await load("twilio");
{
  const secret = "12f8c1d2aa7b3e4599d0c4b1e6f7a812";
  const parameters = { MessageSid: "SM1", MessageStatus: "delivered", To: "+18005551212", From: "+14158675310", Body: "a b&c=d'é" };
  const body = new URLSearchParams(parameters).toString();
  const signature = twilio.getExpectedTwilioSignature(secret, url("twilio"), parameters);
  add("twilio", "twilio", secret, { "x-twilio-signature": signature }, body, { content_type: "application/x-www-form-urlencoded", for: "form" });
}

const { default: adyen } = await load("@adyen/api-library");
{
  const secret = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
  const validator = new adyen.hmacValidator();
  const item = {
    pspReference: "7914073381342284", merchantAccountCode: "TestMerchant", merchantReference: "TestPayment-1407325143704",
    amount: { value: 1130, currency: "EUR" }, eventCode: "AUTHORISATION", success: "true", eventDate: "2026-11-26T04:00:00+00:00",
  };
  item.additionalData = { hmacSignature: validator.calculateHmac(item, secret) };
  add("adyen", "adyen", secret, {}, json({ live: "false", notificationItems: [{ NotificationRequestItem: item }] }), { flip: "TestPayment" });
  const body = json({ type: "balancePlatform.accountHolder.created", environment: "test", timestamp: now.toISOString(), data: { accountHolder: { id: "AH1" } } });
  add("adyen-platform", "adyen-platform", secret, { hmacsignature: validator.calculateHmac(body, secret), protocol: "HmacSHA256" }, body);
}

const { default: braintree } = await load("braintree");
{
  const privateKey = "integration_private_key";
  const gateway = new braintree.BraintreeGateway({
    environment: braintree.Environment.Development, merchantId: "integration_merchant_id", publicKey: "integration_public_key", privateKey,
  });
  const sample = gateway.webhookTesting.sampleNotification(braintree.WebhookNotification.Kind.SubscriptionWentPastDue, "my_id");
  add("braintree", "braintree", privateKey, {}, new URLSearchParams(sample).toString(), {
    content_type: "application/x-www-form-urlencoded", parameters: { public_key: "integration_public_key" }, flip: "bt_payload=",
  });
}

const hubspot = await load("@hubspot/api-client");
{
  const secret = "c0ffee00-0000-4000-8000-00000000beef";
  const body = json([{ eventId: 1, subscriptionId: 12, portalId: 62515, occurredAt: now.getTime(), subscriptionType: "contact.creation", attemptNumber: 0, objectId: 123 }]);
  const timestamp = now.getTime();
  const signature = hubspot.Signature.getSignature("POST", "v3", { clientSecret: secret, requestBody: body, url: url("hubspot"), timestamp });
  add("hubspot", "hubspot", secret, { "x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": `${timestamp}` }, body);
}

const contentful = await load("@contentful/node-apps-toolkit");
{
  const secret = "q7W2x9Kd0sLm4Vb6Zt1Yc8Rf3Gh5Jp0Nq7W2x9Kd0sLm4Vb6Zt1Yc8Rf3Gh5Jp0N";
  const body = json({ sys: { id: "entry1", type: "Entry", revision: 3 } });
  const headers = { "content-type": "application/json", "x-contentful-topic": "ContentManagement.Entry.publish" };
  const request = { method: "POST", path: target("contentful"), headers, body };
  add("contentful", "contentful", secret, { ...headers, ...contentful.signRequest(secret, request, now.getTime()) }, body);
}

const { WorkOS } = await load("@workos-inc/node");
{
  const secret = "wo_sec_5f0cd4b7e1a98c62";
  const payload = { id: "event_1", event: "dsync.user.created", data: { id: "u1" }, created_at: now.toISOString() };
  const stamp = now.getTime();
  const signature = await new WorkOS("sk_test_x").webhooks.computeSignature(stamp, payload, secret);
  add("workos", "workos", secret, { "workos-signature": `t=${stamp}, v1=${signature}` }, json(payload));
}

const { default: coinbase } = await load("coinbase-commerce-node");
{
  const secret = "7d1f0b8e-5a33-4b0e-8a55-4f6f8c1c2d90";
  const body = json({ attempt_number: 1, id: 1, scheduled_for: now.toISOString(), event: { id: "24934862-d980-46cb-9402-43c81b0cdba6", type: "charge:created", created_at: now.toISOString(), data: { id: "c1", code: "66BEOV2A" } } });
  add("coinbase-commerce", "coinbase-commerce", secret, { "x-cc-webhook-signature": coinbase.Webhook.computeSignature(body, secret) }, body);
}

const { default: Pusher } = await load("pusher");
{
  const secret = "1b0f3c5d7e9a2b4c6d8e";
  const body = json({ time_ms: now.getTime(), events: [{ name: "channel_occupied", channel: "test_channel" }] });
  add("pusher", "pusher", secret, { "x-pusher-key": "key1", "x-pusher-signature": new Pusher.Token("key1", secret).sign(body) }, body);
}

const hygraph = await load("@hygraph/utils");
{
  const secret = "hygraph-7f21c5e8d0b94a36";
  const body = json({ operation: "publish", data: { id: "c1", __typename: "Post", stage: "PUBLISHED" } });
  const [environmentName, timestamp] = ["master", now.getTime()];
  const signature = hygraph.generateWebhookSignature({ body: JSON.parse(body), environmentName, timestamp, secret });
  add("hygraph", "hygraph", secret, { "gcms-signature": signature.includes("sign=") ? signature : `sign=${signature}, env=${environmentName}, t=${timestamp}` }, body, { parameters: { environment: environmentName } });
}

const sanity = await load("@sanity/webhook");
{
  const secret = "sanity-9c41e7b2f05d48a3";
  const body = json({ _id: "doc1", _type: "post", _rev: "r1" });
  const signature = await sanity.encodeSignatureHeader(body, now.getTime(), secret);
  add("sanity", "sanity", secret, { [sanity.SIGNATURE_HEADER_NAME]: signature, "idempotency-key": "k1" }, body);
}

const jose = await load("jose");
{
  const secret = "netlify-4e8d10c7b96f4a25";
  const body = json({ id: "5f1b", site_id: "s1", state: "ready" });
  const claims = { iss: "netlify", sha256: createHash("sha256").update(body).digest("hex") };
  const token = await new jose.SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(secret));
  add("netlify", "netlify", secret, { "x-webhook-signature": token, "x-netlify-event": "deploy_created" }, body);
}

for (const request of requests) console.log(JSON.stringify({ target: target(request.vendor), ...request }));
