// Amazon's own client against the double of AWS Secrets Manager in
// internal/secret/secrettest, so that the double is held to two clients.
//   node aws.mjs URL REGION SECRET RING-IN-HEX

import {
  SecretsManagerClient, GetSecretValueCommand, DescribeSecretCommand, PutSecretValueCommand, UpdateSecretVersionStageCommand,
  ListSecretVersionIdsCommand, CreateSecretCommand, DeleteSecretCommand,
} from "@aws-sdk/client-secrets-manager";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

const [endpoint, region, name, ring] = process.argv.slice(2);
const client = new SecretsManagerClient({ endpoint, region, maxAttempts: 1 });
const ok = (what) => console.log("\nok " + what);
const refused = async (what, error, command, by = client) => {
  await assert.rejects(by.send(command), (e) => e.name === error, what);
  ok(what);
};

let got = await client.send(new GetSecretValueCommand({ SecretId: name }));
assert.equal(Buffer.from(got.SecretBinary).toString("hex"), ring);
assert.deepEqual(got.VersionStages, ["AWSCURRENT"]);
assert.ok(got.CreatedDate instanceof Date);
ok("reads what the Go client wrote");
const first = got.VersionId;

const pending = await client.send(new PutSecretValueCommand({
  SecretId: name, SecretBinary: Buffer.from("written by the other client, 32 b"), ClientRequestToken: randomUUID(), VersionStages: ["AWSPENDING"],
}));
got = await client.send(new GetSecretValueCommand({ SecretId: name }));
assert.equal(got.VersionId, first);
ok("a pending version is not the current one");

await refused("a label moves only from where it is", "InvalidParameterException",
  new UpdateSecretVersionStageCommand({ SecretId: name, VersionStage: "AWSCURRENT", MoveToVersionId: pending.VersionId, RemoveFromVersionId: randomUUID() }));

await client.send(new UpdateSecretVersionStageCommand({
  SecretId: name, VersionStage: "AWSCURRENT", MoveToVersionId: pending.VersionId, RemoveFromVersionId: first,
}));
const about = await client.send(new DescribeSecretCommand({ SecretId: name }));
assert.deepEqual(about.VersionIdsToStages[first], ["AWSPREVIOUS"]);
assert.deepEqual(about.VersionIdsToStages[pending.VersionId], ["AWSCURRENT", "AWSPENDING"]);
ok("the labels say which version was before");

const versions = await client.send(new ListSecretVersionIdsCommand({ SecretId: name }));
assert.equal(versions.Versions.length, 2);
ok("lists versions");

await refused("a token is good for one value", "ResourceExistsException",
  new PutSecretValueCommand({ SecretId: name, SecretBinary: Buffer.from("another"), ClientRequestToken: pending.VersionId }));
await refused("what is not there", "ResourceNotFoundException", new GetSecretValueCommand({ SecretId: "nobody" }));
await refused("what is there", "ResourceExistsException", new CreateSecretCommand({ Name: name, SecretString: "x" }));

await client.send(new CreateSecretCommand({ Name: "text", SecretString: "x" }));
assert.equal((await client.send(new GetSecretValueCommand({ SecretId: "text" }))).SecretString, "x");
await client.send(new DeleteSecretCommand({ SecretId: "text" }));
await refused("what is marked for deletion", "InvalidRequestException", new GetSecretValueCommand({ SecretId: "text" }));

const stranger = new SecretsManagerClient({
  endpoint, region, maxAttempts: 1, credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "another" },
});
await refused("a signature by another key", "InvalidSignatureException", new GetSecretValueCommand({ SecretId: name }), stranger);
