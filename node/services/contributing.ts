/**
 * What a contributor does, from wherever its key is: cut text into records, commit to them with a
 * signature, and reveal them once the commitment is on chain. The story and `openledger datanet add`
 * go the same way, through a node's control API.
 */
import {
  type Address,
  addressOfPrivateKey,
  type Bytes32,
  concat,
  fromHex,
  signDigest,
  taggedHash,
  toHex,
  uint256,
} from '#crypto';
import {
  contributionCommitment,
  contributionDigest,
  hashRecord,
  parseRecord,
  recordsRoot,
  rotationDigest,
} from '#protocol';
import { NodeError } from '../errors.ts';
import type { ContributorView, SignedRotation } from './datanets.ts';

/** A node's control API, as far as contributors need it. */
export type ContributionApi = {
  readonly commit: (request: {
    datanetId: Bytes32;
    contributor: Address;
    commitment: Bytes32;
    recordCount: number;
    signature: string;
  }) => Promise<{ contributionId: number; lapsed: boolean }>;
  readonly reveal: (
    contributionId: number,
    salt: Bytes32,
    records: readonly Uint8Array[],
  ) => Promise<void>;
};

/** The same API, as far as a change of key needs it. */
export type RotationApi = {
  readonly contributor: (account: Address) => Promise<ContributorView>;
  readonly rotate: (request: SignedRotation) => Promise<void>;
};

export type RotationInput = {
  /** Private keys: the one in force, and the one that takes its place. */
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly chainId: number;
  readonly registry: Address;
  readonly nowSeconds: number;
};

/** For how long a signed change of key may be put on chain. */
const ROTATION_SECONDS = 3_600;

export type ContributionInput = {
  readonly privateKey: Uint8Array;
  readonly datanetId: Bytes32;
  readonly records: readonly string[];
  readonly chainId: number;
  readonly registry: Address;
};

/** Text as records. @throws NodeError USAGE naming the first text that is no record. */
export function recordBytes(texts: readonly string[]): Uint8Array[] {
  return texts.map((text, at) => {
    const bytes = new TextEncoder().encode(text.normalize('NFC'));
    const parsed = parseRecord(bytes);
    if (!parsed.ok)
      throw new NodeError(
        'USAGE',
        { expected: 'text of 1 to 4096 bytes', came: `record ${at + 1}: ${parsed.code}` },
        'correct or leave out that record',
      );
    return bytes;
  });
}

/**
 * Commits and reveals. Asked again after a crash it sends the same commitment and gets the same
 * contribution, because the salt follows from the key and the records; where that one was not
 * revealed in time, from the number of the attempt as well.
 */
export async function contribute(api: ContributionApi, input: ContributionInput): Promise<number> {
  const records = recordBytes(input.records);
  const root = recordsRoot(records.map(hashRecord));
  const seed = concat(input.privateKey, fromHex(root));
  for (let attempt = 0; ; attempt += 1) {
    const more = attempt === 0 ? [] : [uint256(attempt)];
    const salt = toHex(taggedHash('openledger/contribution-salt/1', seed, ...more));
    const { contributionId, lapsed } = await commitTo(api, input, root, records.length, salt);
    if (lapsed) continue;
    await api.reveal(contributionId, salt, records);
    return contributionId;
  }
}

function commitTo(
  api: ContributionApi,
  input: ContributionInput,
  root: Bytes32,
  recordCount: number,
  salt: Bytes32,
) {
  const contributor = addressOfPrivateKey(input.privateKey);
  const commitment = contributionCommitment({
    datanetId: input.datanetId,
    contributor,
    recordsRoot: root,
    recordCount,
    salt,
  });
  const digest = contributionDigest(
    { chainId: input.chainId, verifyingContract: input.registry },
    { datanetId: input.datanetId, contributor, commitment, recordCount },
  );
  return api.commit({
    datanetId: input.datanetId,
    contributor,
    commitment,
    recordCount,
    signature: toHex(signDigest(digest, input.privateKey)),
  });
}

/**
 * Puts a contributor's new key in the place of its present one; returns the new account. A change that
 * is on chain already is not sent again.
 * @throws NodeError KEY_RETIRED: the key was replaced by another one before
 */
export async function rotateKey(api: RotationApi, input: RotationInput): Promise<Address> {
  const [from, to] = [addressOfPrivateKey(input.from), addressOfPrivateKey(input.to)];
  const { account, nonce } = await api.contributor(from);
  if (account === to) return to;
  if (account !== from)
    throw new NodeError(
      'KEY_RETIRED',
      { account: from, replacedBy: account },
      'sign with the key in force',
    );
  const deadline = BigInt(input.nowSeconds + ROTATION_SECONDS);
  const domain = { chainId: input.chainId, verifyingContract: input.registry };
  const digest = rotationDigest(domain, { from, to, nonce, deadline });
  const [fromSignature, toSignature] = [input.from, input.to].map((key) =>
    toHex(signDigest(digest, key)),
  ) as [string, string];
  await api.rotate({ from, to, deadline, fromSignature, toSignature });
  return to;
}
