// Reads what a contract said when it reverted: custom errors by the ABIs we know, and Solidity's own two.
import { Interface, type InterfaceAbi } from 'ethers';

/** A contract whose errors (and address, once deployed) are known. */
export type KnownContract = {
  readonly name: string;
  readonly address: string | null;
  readonly abi: Interface | InterfaceAbi;
};

/** A revert in words: `error` is the custom error's name, 'Error', 'Panic', or '' when unknown. */
export type DecodedRevert = {
  readonly contract: string;
  readonly error: string;
  readonly args: readonly string[];
};

export type RevertDecoder = {
  know(contracts: readonly KnownContract[]): void;
  /** `to`: the called contract, whose ABI is asked first; inner contracts' errors are found too. */
  decode(to: string | null, data: string): DecodedRevert;
};

const SOLIDITY = new Interface(['error Error(string)', 'error Panic(uint256)']);

export function revertDecoder(): RevertDecoder {
  const known: { name: string; address: string | null; abi: Interface }[] = [];
  return {
    know(contracts) {
      for (const { name, address, abi } of contracts) {
        known.push({ name, address: address?.toLowerCase() ?? null, abi: Interface.from(abi) });
      }
    },
    decode(to, data) {
      const called = known.find((c) => c.address !== null && c.address === to?.toLowerCase());
      const name = called?.name ?? to ?? 'deployment';
      const first = called === undefined ? [] : [called];
      for (const candidate of [...first, { name, abi: SOLIDITY }, ...known]) {
        const parsed = parse(candidate.abi, data);
        if (parsed !== null) return { contract: candidate.name, ...parsed };
      }
      return { contract: name, error: '', args: data === '0x' ? [] : [data] };
    },
  };
}

function parse(abi: Interface, data: string) {
  if (data.length < 10) return null;
  try {
    const parsed = abi.parseError(data);
    return parsed === null ? null : { error: parsed.name, args: parsed.args.map(String) };
  } catch {
    // Right selector, wrong arguments: another contract's error of the same selector, or garbage.
    return null;
  }
}
