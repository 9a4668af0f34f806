// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "./interfaces/IBeacon.sol";

/// @title Beacon from drand: rounds of a threshold BLS signature, each checked here by the chain's own precompiles
/// @notice What asks now gets a round that drand has not signed yet. There is one valid signature per round, so nobody can
/// roll again, withhold one seed for another, or gain by being the one who brings it; anybody may. Whoever makes the
/// blocks may date one back by less than the lag without learning anything.
contract DrandBeacon is IBeacon {
    bytes32 private constant TAG = keccak256("openledger/beacon/1");
    /// @dev Suite of drand's scheme bls-unchained-g1-rfc9380, with its length as RFC 9380 appends it.
    bytes private constant DST_PRIME = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_\x2b";
    /// @dev The generator of G2, negated, as EIP-2537 writes points.
    bytes private constant NEGATED_GENERATOR =
        hex"00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
        hex"0000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
        hex"000000000000000000000000000000000d1b3cc2c7027888be51d9ef691d77bcb679afda66c73f17f9ee3837a55024f78c71363275a75d75d86bab79f74782aa"
        hex"0000000000000000000000000000000013fa4d4a0ad8b1ce186ed5061789213d993923066dddaf1040bc3ff59f825c78df74f2d75467e25e0f55f8a00fa030ed";
    /// @dev The field's prime in 64 bytes.
    bytes private constant PRIME =
        hex"000000000000000000000000000000001a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
    /// @dev (prime - 1) / 2: the upper 16 and the lower 32 of its 48 bytes.
    uint256 private constant HALF_HIGH = 0x0d0088f51cbff34d258dd3db21a5d66b;
    uint256 private constant HALF_LOW = 0xb23ba5c279c2895fb39869507b587b120f55ffff58a9ffffdcff7fffffffd555;
    address private constant MODEXP = address(0x05);
    address private constant G1_ADD = address(0x0b);
    address private constant PAIRING = address(0x0f);
    address private constant MAP_TO_G1 = address(0x10);
    uint256 private constant POINT_BYTES = 128;

    /// @notice When drand made its first round, and how often it makes one.
    uint64 public immutable genesisSeconds;
    uint32 public immutable periodSeconds;
    /// @notice How far ahead of a block's time the round lies that it asks for.
    uint32 public immutable lagSeconds;
    /// @notice drand's public key, a point of G2.
    bytes public publicKey;
    /// @notice drand's randomness of a round, as it publishes it; 0 until somebody brings it.
    mapping(uint64 round => bytes32 randomness) public randomnessOf;

    event RoundSubmitted(uint64 indexed round, bytes32 randomness);

    error DrandBeaconSettingsInvalid();
    error DrandBeaconSignatureInvalid(uint64 round);

    constructor(bytes memory publicKey_, uint64 genesisSeconds_, uint32 periodSeconds_, uint32 lagSeconds_) {
        require(
            publicKey_.length == 2 * POINT_BYTES && periodSeconds_ > 0 && lagSeconds_ >= periodSeconds_,
            DrandBeaconSettingsInvalid()
        );
        publicKey = publicKey_;
        genesisSeconds = genesisSeconds_;
        periodSeconds = periodSeconds_;
        lagSeconds = lagSeconds_;
    }

    /// @notice Brings the signature of a round, 128 bytes as EIP-2537 writes points of G1; a second time changes nothing.
    function submit(uint64 round, bytes calldata signature) external {
        if (randomnessOf[round] != 0) return;
        require(
            signature.length == POINT_BYTES && _isSigned(round, signature), DrandBeaconSignatureInvalid(round)
        );
        bytes32 randomness = sha256(_compressed(signature));
        randomnessOf[round] = randomness;
        emit RoundSubmitted(round, randomness);
    }

    /// @inheritdoc IBeacon
    function mark() external view returns (uint64) {
        uint256 earliest = block.timestamp + lagSeconds;
        if (earliest <= genesisSeconds) return 1;
        // The first round that is made at or after that time; round 1 is made at genesis.
        return uint64((earliest - genesisSeconds + periodSeconds - 1) / periodSeconds + 1);
    }

    /// @inheritdoc IBeacon
    function seedOf(uint256 round) external view returns (bytes32) {
        bytes32 randomness = randomnessOf[uint64(round)];
        require(randomness != 0, BeaconNotReady(round, block.number + 1));
        return keccak256(abi.encode(TAG, block.chainid, round, randomness));
    }

    /// @inheritdoc IBeacon
    function readyAt(uint256 round) external view returns (uint256) {
        return randomnessOf[uint64(round)] == 0 ? block.number + 1 : block.number;
    }

    /// @inheritdoc IBeacon
    function isInsecure() external pure returns (bool) {
        return false;
    }

    // ---------------------------------------------------------------- inside

    /// @dev e(signature, -generator) * e(hash of the round, key) = 1. The precompile checks that points are in their groups.
    function _isSigned(uint64 round, bytes calldata signature) private view returns (bool) {
        bytes memory message = _hashToCurve(sha256(abi.encodePacked(round)));
        (bool ok, bytes memory result) =
            PAIRING.staticcall(abi.encodePacked(signature, NEGATED_GENERATOR, message, publicKey));
        return ok && result.length == 32 && abi.decode(result, (uint256)) == 1;
    }

    /// @dev hash_to_curve of RFC 9380 for G1.
    function _hashToCurve(bytes32 message) private view returns (bytes memory) {
        bytes32 b0 = sha256(abi.encodePacked(new bytes(64), message, uint16(128), uint8(0), DST_PRIME));
        bytes32 b1 = sha256(abi.encodePacked(b0, uint8(1), DST_PRIME));
        bytes32 b2 = sha256(abi.encodePacked(b0 ^ b1, uint8(2), DST_PRIME));
        bytes32 b3 = sha256(abi.encodePacked(b0 ^ b2, uint8(3), DST_PRIME));
        bytes32 b4 = sha256(abi.encodePacked(b0 ^ b3, uint8(4), DST_PRIME));
        return _run(G1_ADD, abi.encodePacked(_toCurve(b1, b2), _toCurve(b3, b4)));
    }

    /// @dev 64 bytes as a number, modulo the prime, as a point.
    function _toCurve(bytes32 high, bytes32 low) private view returns (bytes memory) {
        bytes memory lengths = abi.encode(uint256(64), uint256(1), uint256(64));
        return _run(MAP_TO_G1, _run(MODEXP, abi.encodePacked(lengths, high, low, uint8(1), PRIME)));
    }

    function _run(address precompile, bytes memory input) private view returns (bytes memory output) {
        bool ok;
        (ok, output) = precompile.staticcall(input);
        // Only a chain without these precompiles comes here, and there no round is ever accepted.
        require(ok && output.length >= 64, DrandBeaconSettingsInvalid());
    }

    /// @dev The 48 bytes that drand publishes: x with three flags, of which one says which y it is.
    function _compressed(bytes calldata point) private pure returns (bytes memory) {
        uint256 yHigh = uint128(bytes16(point[80:96]));
        uint256 yLow = uint256(bytes32(point[96:128]));
        bool larger = yHigh > HALF_HIGH || (yHigh == HALF_HIGH && yLow > HALF_LOW);
        bytes memory x = point[16:64];
        x[0] |= larger ? bytes1(0xa0) : bytes1(0x80);
        return x;
    }
}
