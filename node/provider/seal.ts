/** Signs a receipt and closes it, with all that proves it, into a file. */
import { type Address, type Bytes32, buildTree, type SigningDomain } from '#crypto';
import {
  type AdapterAnchor,
  type AnswerParts,
  assembleReceiptFile,
  type BuiltReceipt,
  baseAloneAnchor,
  buildVersion,
  encodeReceiptFile,
  NO_ADAPTER,
  type Receipt,
  type ReceiptRules,
  type VersionAnchor,
} from '#protocol';
import type { AdapterBundle } from './bundle.ts';

const ZERO = NO_ADAPTER;

/** The base alone as an adapter that learned from nothing; a verifier adds it to its anchors. */
export const baseAloneAnchors = (
  baseHash: Bytes32,
): { readonly adapter: AdapterAnchor; readonly version: VersionAnchor } => ({
  adapter: baseAloneAnchor(baseHash),
  version: { datanetId: ZERO, version: 0, root: ZERO, recordCount: 0 },
});

export type SealParts = {
  readonly chainId: number;
  readonly referee: Address;
  /** The provider's signature of a receipt for the Referee. */
  readonly sign: (domain: SigningDomain, receipt: Receipt) => Uint8Array;
};

export type Seal = (
  answer: AnswerParts,
  built: BuiltReceipt,
  rules: ReceiptRules,
  adapter: AdapterAnchor,
  /** null: nobody's records are known to have a part in the answer. */
  bundle: AdapterBundle | null,
) => Uint8Array;

export function openSeal({ chainId, referee, sign }: SealParts): Seal {
  const nothing = { sketches: { leaves: [], tree: buildTree([]) }, version: buildVersion([]) };
  return (answer, built, rules, adapter, bundle) =>
    encodeReceiptFile(
      assembleReceiptFile({
        built,
        signature: sign({ chainId, verifyingContract: referee }, built.receipt),
        domain: { chainId, referee },
        prompt: answer.prompt,
        output: answer.output,
        price: answer.price,
        rules,
        adapter,
        querySketch: answer.querySketch,
        sketches:
          bundle === null ? nothing.sketches : { leaves: bundle.sketches, tree: bundle.sketchTree },
        datanetId: bundle?.lineage.datanetId ?? ZERO,
        version: bundle?.lineage.version ?? 0,
        records: bundle?.version ?? nothing.version,
        recordBytes: (index) => bundle!.records[index]!,
      }),
    );
}

/** An adapter as it stands in receipt files and in a verifier's anchors. */
export const anchorOf = ({ lineage }: Pick<AdapterBundle, 'lineage'>): AdapterAnchor => ({
  adapterId: lineage.adapterId,
  baseHash: lineage.baseHash,
  datanetId: lineage.datanetId,
  version: lineage.version,
  adapterHash: lineage.adapterHash,
  sketchRoot: lineage.sketchRoot,
  sketchCount: lineage.sketchCount,
});
