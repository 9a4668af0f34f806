/**
 * The contracts as the services see them: read a function, submit an intent once. Values come back
 * plain: lower-case hexadecimal text, numbers up to 64 bits, bigint above, objects by field name.
 */
import { concat, type Interface, type ParamType, type Result } from 'ethers';
import type { Address, Hex } from '#crypto';

export type Receipt = {
  readonly hash: string;
  readonly blockNumber: number;
  readonly gasUsed: bigint;
  readonly logs: readonly {
    readonly address: string;
    readonly topics: readonly string[];
    readonly data: string;
  }[];
};

export type Intent<Name extends string> = {
  /** Identifies the action for ever: submitted once however often it is asked for. */
  readonly key: string;
  readonly contract: Name;
  readonly fn: string;
  readonly args: readonly unknown[];
  /** Bytes that the contract reads behind the encoded arguments. */
  readonly tail?: Hex;
  readonly valueWei?: bigint;
  readonly gasLimit?: bigint;
};

/** What the port stands on: a JSON-RPC client and an exactly-once outbox of one key. */
export type ChainAccess = {
  readonly call: (request: { to: string; data: string }) => Promise<string>;
  readonly submit: (request: {
    key: string;
    to: string;
    data: string;
    valueWei: bigint;
    gasLimit?: bigint;
  }) => Promise<Receipt>;
};

export type ChainPort<Name extends string> = {
  /** The account that submits. */
  readonly self: Address;
  readonly addressOf: (contract: Name) => Address;
  readonly read: <Value>(contract: Name, fn: string, ...args: readonly unknown[]) => Promise<Value>;
  readonly submit: (intent: Intent<Name>) => Promise<Receipt>;
  /** The first event of that name in a receipt, decoded; null when there is none. */
  readonly event: <Value>(receipt: Receipt, contract: Name, name: string) => Value | null;
};

/** A port over the deployed contracts for one account. */
export function createChainPort<Name extends string>(
  self: Address,
  contracts: Readonly<Record<Name, string>>,
  interfaces: Readonly<Record<Name, Interface>>,
  access: ChainAccess,
): ChainPort<Name> {
  const target = (contract: Name): { to: string; abi: Interface } => ({
    to: contracts[contract],
    abi: interfaces[contract],
  });
  return {
    self,
    addressOf: (contract) => contracts[contract].toLowerCase() as Address,
    read: async <Value>(contract: Name, fn: string, ...args: readonly unknown[]) => {
      const { to, abi } = target(contract);
      const data = await access.call({ to, data: abi.encodeFunctionData(fn, [...args]) });
      const outputs = abi.getFunction(fn)?.outputs ?? [];
      const decoded = abi.decodeFunctionResult(fn, data);
      const plain = outputs.map((output, at) => plainValue(output, decoded[at]));
      return (plain.length === 1 ? plain[0] : plain) as Value;
    },
    submit: ({ key, contract, fn, args, tail, valueWei, gasLimit }) => {
      const { to, abi } = target(contract);
      return access.submit({
        key,
        to,
        data: concat([abi.encodeFunctionData(fn, [...args]), tail ?? '0x']),
        valueWei: valueWei ?? 0n,
        ...(gasLimit === undefined ? {} : { gasLimit }),
      });
    },
    event: <Value>(receipt: Receipt, contract: Name, name: string) => {
      const { to, abi } = target(contract);
      for (const log of receipt.logs) {
        if (log.address.toLowerCase() !== to.toLowerCase()) continue;
        const parsed = abi.parseLog({ topics: [...log.topics], data: log.data });
        if (parsed?.name !== name) continue;
        const fields = parsed.fragment.inputs.map((input, at) => [
          input.name,
          plainValue(input, parsed.args[at]),
        ]);
        return Object.fromEntries(fields) as Value;
      }
      return null;
    },
  };
}

const SMALL_INTEGER = /^u?int(8|16|24|32|40|48|56|64)$/;

/** A decoded value as the services see it. */
export function plainValue(type: ParamType, value: unknown): unknown {
  if (type.arrayChildren !== null && type.baseType === 'array') {
    const child = type.arrayChildren;
    return [...(value as Result)].map((entry) => plainValue(child, entry));
  }
  if (type.components !== null && type.baseType === 'tuple') {
    const fields = value as Result;
    return Object.fromEntries(
      type.components.map((component, at) => [component.name, plainValue(component, fields[at])]),
    );
  }
  if (SMALL_INTEGER.test(type.type)) return Number(value as bigint);
  if (type.type === 'address' || type.type.startsWith('bytes'))
    return (value as string).toLowerCase() as Hex;
  return value;
}
