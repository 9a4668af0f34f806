/** drand's quicknet: the public randomness that committees are drawn by where there is no local beacon. */

/** What DrandBeacon is deployed with, and by which name drand's servers know it. */
export type DrandNetwork = {
  /** Hash of the network's settings, hexadecimal: part of its rounds' addresses. */
  readonly chainHash: string;
  /** A point of G2 as EIP-2537 writes it: x.c0, x.c1, y.c0, y.c1 in 64 bytes each. */
  readonly publicKey: string;
  readonly genesisSeconds: bigint;
  readonly periodSeconds: bigint;
};

/** Unchained, signatures in G1, every 3 s. */
export const quicknet: DrandNetwork = {
  chainHash: '52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971',
  publicKey:
    '0x000000000000000000000000000000000d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a' +
    '0000000000000000000000000000000003cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451' +
    '000000000000000000000000000000000e5db2b6bfbb01c867749cadffca88b36c24f3012ba09fc4d3022c5c37dce0f977d3adb5d183c7477c442b1f04515273' +
    '0000000000000000000000000000000001a714f2edb74119a2f2b0d5a7c75ba902d163700a61bc224ededd8e63aef7be1aaf8e93d7a9718b047ccddb3eb5d68b',
  genesisSeconds: 1_692_803_367n,
  periodSeconds: 3n,
};

/**
 * How far ahead of its block's time a task's round lies. The sequencer of an OP chain may let blocks fall behind the
 * clock; one that falls further behind than this could know a seed before it fixes who gets it.
 */
export const DRAND_LAG_SECONDS = 120n;
