/**
 * What a contributor does, from wherever its key is: cut text into records, commit to them with a
 * signature, and reveal them once the commitment is on chain. The story and `openledger datanet add`
 * go the same way, through a node's control API.
 */
import {
  type Address,
  addressOfPrivateKey,
  type Bytes32,
  fromHex,
  signDigest,
  taggedHash,
  toHex,
} from '#crypto';
import {
  contributionCommitment,
  contributionDigest,
  hashRecord,
  parseRecord,
  recordsRoot,
} from '#protocol';
import { NodeError } from '../errors.ts';

/** A node's control API, as far as contributors need it. */
export type ContributionApi = {
  readonly commit: (request: {
    datanetId: Bytes32;
    contributor: Address;
    commitment: Bytes32;
    recordCount: number;
    signature: string;
  }) => Promise<{ contributionId: number }>;
  readonly reveal: (
    contributionId: number,
    salt: Bytes32,
    records: readonly Uint8Array[],
  ) => Promise<void>;
};

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
 * contribution, because the salt follows from the key and the records.
 */
export async function contribute(api: ContributionApi, input: ContributionInput): Promise<number> {
  const records = recordBytes(input.records);
  const contributor = addressOfPrivateKey(input.privateKey);
  const root = recordsRoot(records.map(hashRecord));
  const salt = toHex(taggedHash('openledger/contribution-salt/1', input.privateKey, fromHex(root)));
  const commitment = contributionCommitment({
    datanetId: input.datanetId,
    contributor,
    recordsRoot: root,
    recordCount: records.length,
    salt,
  });
  const digest = contributionDigest(
    { chainId: input.chainId, verifyingContract: input.registry },
    { datanetId: input.datanetId, contributor, commitment, recordCount: records.length },
  );
  const { contributionId } = await api.commit({
    datanetId: input.datanetId,
    contributor,
    commitment,
    recordCount: records.length,
    signature: toHex(signDigest(digest, input.privateKey)),
  });
  await api.reveal(contributionId, salt, records);
  return contributionId;
}
