/** The door of crypto: bytes and words, hashes, trees, keys, typed data, sketches, seeded numbers. */
export {
  type Address,
  addressWord,
  type Bytes32,
  bytes32,
  compareBytes,
  concat,
  equal,
  fromHex,
  type Hex,
  int256,
  isHexOf,
  parseAddress,
  parseBytes32,
  toHex,
  toUint,
  uint256,
  utf8,
} from './bytes.ts';
export { commitTo, opensCommitment } from './commitment.ts';
export { drandPoint } from './drand.ts';
export { keccak256, sha256, taggedHash, tagHash } from './hash.ts';
export {
  buildTree,
  climb,
  hashLeaf,
  type MerkleProof,
  type MerkleTree,
  merkleDepth,
  merkleRoot,
  proveLeaf,
  verifyLeaf,
} from './merkle.ts';
export { createProjection, mix32, type Projection, quantise } from './projection.ts';
export { createRandom, type Random } from './random.ts';
export {
  addressOfPrivateKey,
  addressOfPublicKey,
  isPrivateKey,
  isSignedBy,
  publicKeyOf,
  recoverAddress,
  signDigest,
} from './signature.ts';
export {
  cosineQ16,
  dotProduct,
  integerSqrt,
  passesThreshold,
  SKETCH_SIZE,
  sketchBytes,
  sketchFromBytes,
  squaredNorm,
} from './sketch.ts';
export {
  domainSeparator,
  encodeType,
  type SigningDomain,
  type StaticType,
  type StructType,
  type StructValues,
  structHash,
  typedDigest,
} from './typed-data.ts';
