/** Typed access to the contracts through ethers: interfaces, calls, errors, events, and contracts at their addresses. */
import {
  type BaseContractMethod,
  Contract,
  type ContractRunner,
  type ContractTransactionResponse,
  Interface,
  type InterfaceAbi,
  type Overrides,
  type Result,
} from 'ethers';
import {
  type ContractFunctions,
  type ContractName,
  contractAbis,
  contractNames,
} from './bindings/contracts.ts';
import type { PresetName } from './presets.ts';

/** Address book of one deployment; JSON keeps it as it is. */
export type Deployment = {
  readonly chainId: number;
  readonly preset: PresetName;
  readonly deployedAtBlock: number;
  readonly contracts: Readonly<Record<ContractName, string>>;
};

const SELECTOR_HEX_LENGTH = 10;

type FunctionShape = { args: unknown[]; result: unknown; kind: string };

/** Calls take their arguments and, last, ethers' overrides; calls that send need a runner that can sign. */
export type TypedMethod<F extends FunctionShape> = F['kind'] extends 'view'
  ? BaseContractMethod<F['args'], F['result'], F['result']>
  : BaseContractMethod<F['args'], F['result'], ContractTransactionResponse>;

/** An ethers contract whose functions have the types of their ABI. */
export type TypedContract<N extends ContractName> = Contract & {
  readonly [K in keyof ContractFunctions[N]]: ContractFunctions[N][K] extends FunctionShape
    ? TypedMethod<ContractFunctions[N][K]>
    : never;
};

export type Contracts = { readonly [N in ContractName]: TypedContract<N> };

type FunctionName<N extends ContractName> = keyof ContractFunctions[N] & string;
type FunctionArgs<
  N extends ContractName,
  F extends FunctionName<N>,
> = ContractFunctions[N][F] extends { args: infer A extends unknown[] } ? A : never;
type FunctionResult<
  N extends ContractName,
  F extends FunctionName<N>,
> = ContractFunctions[N][F] extends { result: infer R } ? R : never;

/** The ABI of a contract, as a constant. */
export function contractAbi<N extends ContractName>(name: N): (typeof contractAbis)[N] {
  return contractAbis[name];
}

/** One ethers Interface per contract. */
export const contractInterfaces = Object.fromEntries(
  contractNames.map((name) => [name, new Interface(contractAbis[name] as InterfaceAbi)]),
) as Record<ContractName, Interface>;

/** Every contract of a deployment, calling and sending through `runner`. */
export function connectContracts(
  deployment: Pick<Deployment, 'contracts'>,
  runner: ContractRunner | null,
): Contracts {
  const entries = contractNames.map((name) => [
    name,
    new Contract(deployment.contracts[name], contractInterfaces[name], runner),
  ]);
  return Object.fromEntries(entries) as Contracts;
}

/** Calldata of a call, 0x-prefixed. */
export function encodeCall<N extends ContractName, F extends FunctionName<N>>(
  contract: N,
  fn: F,
  args: FunctionArgs<N, F>,
): string {
  return contractInterfaces[contract].encodeFunctionData(fn, args);
}

/** A transaction to a deployed contract: what an outbox stores and signs. */
export type CallRequest = Overrides & { to: string; data: string; value: bigint };

/** A call as a transaction request; `valueWei` is for payable functions. */
export function callRequest<N extends ContractName, F extends FunctionName<N>>(
  deployment: Pick<Deployment, 'contracts'>,
  contract: N,
  fn: F,
  args: FunctionArgs<N, F>,
  valueWei = 0n,
): CallRequest {
  return {
    to: deployment.contracts[contract],
    data: encodeCall(contract, fn, args),
    value: valueWei,
  };
}

/** What a call returned, from its raw bytes; several outputs come as a tuple with names. */
export function decodeResult<N extends ContractName, F extends FunctionName<N>>(
  contract: N,
  fn: F,
  data: string,
): FunctionResult<N, F> {
  const result = contractInterfaces[contract].decodeFunctionResult(fn, data);
  return (result.length === 1 ? result[0] : result) as FunctionResult<N, F>;
}

/** A custom error of one of our contracts, with its arguments by name. */
export type DecodedError = {
  readonly contract: ContractName;
  readonly error: string;
  readonly args: Result;
};

/**
 * Revert data as one of our contracts' custom errors, or null. Errors that several contracts share (those of pull
 * payments and of libraries) are named by the first that has them.
 */
export function decodeError(data: string): DecodedError | null {
  // Shorter than a selector: out of gas, or a revert without a reason.
  if (data.length < SELECTOR_HEX_LENGTH) return null;
  for (const contract of contractNames) {
    const description = contractInterfaces[contract].parseError(data);
    // ethers knows Error(string) and Panic(uint256) in every interface; they are not ours.
    if (description === null || /^(Error|Panic)$/.test(description.name)) continue;
    return { contract, error: description.name, args: description.args };
  }
  return null;
}

/** An event of one of our contracts. */
export type DecodedEvent = {
  readonly contract: ContractName;
  readonly event: string;
  readonly args: Result;
};

/** A log as an event of the deployment's contracts, or null when another contract wrote it. */
export function decodeEvent(
  deployment: Pick<Deployment, 'contracts'>,
  log: { readonly address: string; readonly topics: readonly string[]; readonly data: string },
): DecodedEvent | null {
  const address = log.address.toLowerCase();
  const contract = contractNames.find(
    (name) => deployment.contracts[name].toLowerCase() === address,
  );
  if (contract === undefined) return null;
  const description = contractInterfaces[contract].parseLog(log);
  return description === null
    ? null
    : { contract, event: description.name, args: description.args };
}

/** Contracts that hold money; each says with `accountedWei()` what it holds, and keeps credits. */
export const moneyHolders = [
  'Staking',
  'TaskEscrow',
  'InferenceEscrow',
  'Epochs',
  'EpochDisputes',
  'DatanetRegistry',
] as const;
