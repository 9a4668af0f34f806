/** Deployment: the transactions in their order with the addresses they will get, and the check of what stands on a chain. */
import { getBytes, getCreateAddress, hexlify, type Provider, ZeroAddress } from 'ethers';
import {
  type ContractName,
  contractBytecodes,
  contractNames,
  contractRuntimes,
} from './bindings/contracts.ts';
import {
  type Contracts,
  connectContracts,
  contractInterfaces,
  type Deployment,
} from './connect.ts';
import { DRAND_LAG_SECONDS, quicknet } from './drand.ts';
import { governance, type PresetName, presets } from './presets.ts';

export type DeploymentInput = {
  readonly deployer: string;
  /** The deployer's nonce at the first transaction; the others follow without a gap. */
  readonly nonce: number;
  readonly treasury: string;
  readonly chainId: number;
};

export type DeploymentTransaction = {
  /** `deploy/<contract>`: names the transaction for ever. */
  readonly key: string;
  readonly contract: ContractName;
  readonly nonce: number;
  readonly to: null;
  readonly data: string;
  readonly address: string;
};

export type DeploymentPlan = {
  readonly transactions: readonly DeploymentTransaction[];
  readonly deployment: Omit<Deployment, 'deployedAtBlock'>;
};

/** The contracts that each one is given at its construction, in order; every one of them is a getter of that name. */
const wiring: Record<ContractName, readonly (readonly [getter: string, ContractName])[]> = {
  Parameters: [],
  InsecureLocalBeacon: [],
  Staking: [
    ['parameters', 'Parameters'],
    ['taskEscrow', 'TaskEscrow'],
    ['referee', 'Referee'],
    ['epochs', 'Epochs'],
    ['datanets', 'DatanetRegistry'],
  ],
  DatanetRegistry: [
    ['parameters', 'Parameters'],
    ['staking', 'Staking'],
    ['referee', 'Referee'],
  ],
  ModelRegistry: [['taskEscrow', 'TaskEscrow']],
  TaskEscrow: [
    ['parameters', 'Parameters'],
    ['staking', 'Staking'],
    ['datanets', 'DatanetRegistry'],
    ['models', 'ModelRegistry'],
  ],
  InferenceEscrow: [
    ['parameters', 'Parameters'],
    ['epochs', 'Epochs'],
  ],
  Epochs: [
    ['parameters', 'Parameters'],
    ['staking', 'Staking'],
    ['inferenceEscrow', 'InferenceEscrow'],
    ['referee', 'Referee'],
    ['disputes', 'EpochDisputes'],
    ['paymentDisputes', 'PaymentDisputes'],
  ],
  Referee: [
    ['parameters', 'Parameters'],
    ['staking', 'Staking'],
    ['models', 'ModelRegistry'],
    ['epochs', 'Epochs'],
  ],
  GOpen: [],
  Timelock: [],
  OpenLedgerGovernor: [
    ['token', 'GOpen'],
    ['timelock', 'Timelock'],
  ],
  DrandBeacon: [],
  EpochDisputes: [
    ['parameters', 'Parameters'],
    ['epochs', 'Epochs'],
    ['referee', 'Referee'],
    ['payments', 'PaymentDisputes'],
  ],
  PaymentDisputes: [
    ['parameters', 'Parameters'],
    ['epochs', 'Epochs'],
    ['referee', 'Referee'],
    ['staking', 'Staking'],
    ['models', 'ModelRegistry'],
    ['inferenceEscrow', 'InferenceEscrow'],
  ],
  StepJudge: [],
};

/** A local chain has no drand to ask; everywhere else nothing but drand draws committees. */
function wiringOf(contract: ContractName, preset: PresetName): (typeof wiring)[ContractName] {
  if (contract !== 'TaskEscrow') return wiring[contract];
  return [
    ...wiring[contract],
    ['beacon', preset === 'local' ? 'InsecureLocalBeacon' : 'DrandBeacon'],
  ];
}

/** What a contract's constructor takes after the contracts that it is given. */
function settings(
  contract: ContractName,
  preset: PresetName,
  input: DeploymentInput,
  contracts: Record<ContractName, string>,
): unknown[] {
  const rules = governance[preset];
  if (contract === 'Parameters') {
    return [rules.ownsParameters ? contracts.Timelock : input.deployer, presets[preset]];
  }
  if (contract === 'InferenceEscrow') return [input.treasury];
  // The governor proposes; whoever likes executes, which the zero address stands for.
  if (contract === 'Timelock') {
    return [rules.timelockSeconds, [contracts.OpenLedgerGovernor], [ZeroAddress]];
  }
  if (contract === 'DrandBeacon') {
    const { publicKey, genesisSeconds, periodSeconds } = quicknet;
    return [publicKey, genesisSeconds, periodSeconds, DRAND_LAG_SECONDS];
  }
  return contract === 'OpenLedgerGovernor' ? [rules] : [];
}

/**
 * The transactions that deploy everything. The contracts know each other as immutables, by addresses that follow from
 * the deployer and its nonces; so the order is fixed, no later call wires anything, and no constructor calls another
 * contract (each can be estimated and sent on its own).
 */
export function deploymentPlan(preset: PresetName, input: DeploymentInput): DeploymentPlan {
  const contracts = Object.fromEntries(
    contractNames.map((name, i) => [
      name,
      getCreateAddress({ from: input.deployer, nonce: input.nonce + i }),
    ]),
  ) as Record<ContractName, string>;
  const transactions = contractNames.map((contract, i): DeploymentTransaction => {
    const args: unknown[] = [
      ...wiringOf(contract, preset).map(([, target]) => contracts[target]),
      ...settings(contract, preset, input, contracts),
    ];
    const encoded = contractInterfaces[contract].encodeDeploy(args);
    return {
      key: `deploy/${contract}`,
      contract,
      nonce: input.nonce + i,
      to: null,
      data: contractBytecodes[contract] + encoded.slice(2),
      address: contracts[contract],
    };
  });
  return { transactions, deployment: { chainId: input.chainId, preset, contracts } };
}

/** What is on the chain is not the deployment. */
export class DeploymentError extends Error {
  override readonly name = 'DeploymentError';
  readonly code:
    | 'CHAIN_MISMATCH'
    | 'NO_CODE'
    | 'CODE_MISMATCH'
    | 'WIRING_MISMATCH'
    | 'OWNER_MISMATCH';
  readonly contract: ContractName | null;
  readonly details: Readonly<Record<string, string>>;

  constructor(
    code: DeploymentError['code'],
    contract: ContractName | null,
    message: string,
    details: Record<string, string>,
  ) {
    super(message);
    this.code = code;
    this.contract = contract;
    this.details = details;
  }
}

/** Runtime code without its immutables, which differ from deployment to deployment. */
function withoutImmutables(contract: ContractName, code: Uint8Array): string {
  const masked = Uint8Array.from(code);
  for (const [start, length] of contractRuntimes[contract].immutables) {
    masked.fill(0, start, start + length);
  }
  return hexlify(masked);
}

async function verifyCode(provider: Provider, contract: ContractName, address: string) {
  const code = getBytes(await provider.getCode(address));
  if (code.length === 0) {
    throw new DeploymentError(
      'NO_CODE',
      contract,
      `Expected ${contract} at ${address}, found no code; deploy again or correct the address book.`,
      { address },
    );
  }
  const { offset, length } = contractRuntimes[contract];
  const creation = getBytes(contractBytecodes[contract]);
  const expected = withoutImmutables(contract, creation.slice(offset, offset + length));
  if (code.length !== length || withoutImmutables(contract, code) !== expected) {
    throw new DeploymentError(
      'CODE_MISMATCH',
      contract,
      `Expected this version's ${contract} at ${address}, found other code (${code.length} bytes, expected ` +
        `${length}); use the version that deployed it, or deploy again.`,
      { address },
    );
  }
}

/**
 * Checks that every contract of the deployment stands on the provider's chain with this version's code and knows the
 * others.
 * @throws DeploymentError naming the contract.
 */
export async function verifyDeployment(provider: Provider, deployment: Deployment): Promise<void> {
  const { chainId } = await provider.getNetwork();
  if (chainId !== BigInt(deployment.chainId)) {
    throw new DeploymentError(
      'CHAIN_MISMATCH',
      null,
      `Expected chain ${deployment.chainId}, the node is on chain ${chainId}; correct the RPC address.`,
      { expected: String(deployment.chainId), actual: String(chainId) },
    );
  }
  for (const contract of contractNames) {
    await verifyCode(provider, contract, deployment.contracts[contract]);
  }
  const connected = connectContracts(deployment, provider);
  for (const contract of contractNames) {
    for (const [getter, target] of wiringOf(contract, deployment.preset)) {
      const actual = String(await connected[contract].getFunction(getter)());
      const expected = deployment.contracts[target];
      if (actual.toLowerCase() === expected.toLowerCase()) continue;
      throw new DeploymentError(
        'WIRING_MISMATCH',
        contract,
        `Expected ${contract}.${getter} to be ${expected}, found ${actual}; the address book mixes deployments.`,
        { getter, expected, actual },
      );
    }
  }
  await verifyGovernance(connected, deployment);
}

/** Where the preset says so, the timelock owns Parameters and takes proposals from the governor. */
async function verifyGovernance(connected: Contracts, { preset, contracts }: Deployment) {
  if (!governance[preset].ownsParameters) return;
  const { Parameters, Timelock } = connected;
  const owner = await Parameters.owner();
  if (owner.toLowerCase() !== contracts.Timelock.toLowerCase()) {
    throw new DeploymentError(
      'OWNER_MISMATCH',
      'Parameters',
      `Expected Parameters to be owned by the timelock ${contracts.Timelock}, found ${owner}; whoever that is can change ` +
        'every governed number without a vote: do not use this deployment.',
      { expected: contracts.Timelock, actual: owner },
    );
  }
  const role = await Timelock.PROPOSER_ROLE();
  if (await Timelock.hasRole(role, contracts.OpenLedgerGovernor)) return;
  throw new DeploymentError(
    'OWNER_MISMATCH',
    'Timelock',
    `Expected the governor ${contracts.OpenLedgerGovernor} to be the timelock's proposer, and it is not; the address book ` +
      'mixes deployments.',
    { expected: contracts.OpenLedgerGovernor },
  );
}
