// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DrandBeacon} from "../src/DrandBeacon.sol";
import {InsecureLocalBeacon} from "../src/InsecureLocalBeacon.sol";
import {IBeacon} from "../src/interfaces/IBeacon.sol";
import {Base, vm} from "./Base.sol";

/// @title Both beacons: what they fix, when they answer, and what they take for an answer
/// @dev Round 1,000 as drand's quicknet published it; rounds 1 and 5 of a key of ours, whose points have different y.
contract BeaconsTest is Base {
    bytes private constant QUICKNET =
        hex"000000000000000000000000000000000d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
        hex"0000000000000000000000000000000003cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        hex"000000000000000000000000000000000e5db2b6bfbb01c867749cadffca88b36c24f3012ba09fc4d3022c5c37dce0f977d3adb5d183c7477c442b1f04515273"
        hex"0000000000000000000000000000000001a714f2edb74119a2f2b0d5a7c75ba902d163700a61bc224ededd8e63aef7be1aaf8e93d7a9718b047ccddb3eb5d68b";
    bytes private constant PUBLISHED =
        hex"00000000000000000000000000000000144679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
        hex"0000000000000000000000000000000011f92e4521ef54f047b64b85fa98db2d46f0f44add1f60b93f8a0dbddd63b34f238657c2d93aed18b90bddd60a01b6d2";
    bytes32 private constant PUBLISHED_RANDOMNESS =
        0xfe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd;
    bytes private constant KEY =
        hex"0000000000000000000000000000000002142a58bae275564a6d63cb6bd6266ca66bef07a6ab8ca37b9d0ba2d4effbccfd89c169649f7d0e8a3eb006846579ad"
        hex"0000000000000000000000000000000012be651a5fa620340d418834526d37a8c932652345400b4cd9d43c8f41c080f41a6d9558118ebeab9d4268bb73e850e1"
        hex"0000000000000000000000000000000015f4b235c209d89ce833f8f296e4cfb748e8abce6990ce1a5a914b9416c08e0d3a26db89625915c821a5f152b7fa592e"
        hex"0000000000000000000000000000000006fcacb3ee6650a1044852d61c9c20bedc8ee90aad97de8e24670a9ef57483e678db11dd95428915088d76e30cb01a37";
    bytes private constant FIRST =
        hex"0000000000000000000000000000000012fbcc70d17d72220bbd299909a4345ebc364dfdc4816bc3816d8a461ac2230ead125902ae898657d4191d3195fec238"
        hex"000000000000000000000000000000000d6d2247f158dcc0a60c61037b952305b93fb028b740a5cd9028fc5b45e6aeb2ec540e0187d8d05f8f6e19d2a41ab6aa";
    bytes32 private constant FIRST_RANDOMNESS =
        0x7a0edadcf5379a5cc3a7bd345db87b6972784a95c87a12e9c42137fe793b22d2;
    bytes private constant FIFTH =
        hex"0000000000000000000000000000000012cdc8c5e5d66ee7819476dd820e636c2e6a3b2d10fa51bdc173f2da25c1383bbead8bdcf0b5e7cc7c6517ff23d2462e"
        hex"000000000000000000000000000000000c7a49ad94b9c20704205658cdaaba4e0b88940f1ae26ef70911b14d004a4edee2d4863d7511235bc7e28440acd21258";
    bytes32 private constant FIFTH_RANDOMNESS =
        0xe9f3b02d9ff3128009534691ea55328db0262dc54e0729f1ea97cf572a24f9d6;
    uint64 private constant GENESIS = 1_692_803_367;

    function setUp() external {
        vm.warp(1_800_000_000);
        vm.roll(1_000);
    }

    function _quicknet() private returns (DrandBeacon) {
        return new DrandBeacon(QUICKNET, GENESIS, 3, 120);
    }

    // ---------------------------------------------------------------- DrandBeacon

    function test_submit_takesARoundOfQuicknetOnce() external {
        DrandBeacon beacon = _quicknet();
        vm.expectPartialRevert(IBeacon.BeaconNotReady.selector);
        beacon.seedOf(1_000);
        same(beacon.readyAt(1_000), vm.getBlockNumber() + 1, "not ready");
        beacon.submit(1_000, PUBLISHED);
        check(beacon.randomnessOf(1_000) == PUBLISHED_RANDOMNESS, "randomness");
        bytes32 seed = beacon.seedOf(1_000);
        check(
            seed
                == keccak256(
                    abi.encode(
                        keccak256("openledger/beacon/1"), block.chainid, uint256(1_000), PUBLISHED_RANDOMNESS
                    )
                ),
            "seed"
        );
        beacon.submit(1_000, "");
        check(beacon.seedOf(1_000) == seed, "nobody changes it");
        same(beacon.readyAt(1_000), vm.getBlockNumber(), "ready");
        check(!beacon.isInsecure(), "secure");
    }

    function test_submit_takesPointsOfEitherY() external {
        DrandBeacon beacon = new DrandBeacon(KEY, GENESIS, 3, 120);
        beacon.submit(1, FIRST);
        beacon.submit(5, FIFTH);
        check(beacon.randomnessOf(1) == FIRST_RANDOMNESS, "the larger y");
        check(beacon.randomnessOf(5) == FIFTH_RANDOMNESS, "the smaller y");
    }

    function testFuzz_submit_refusesAnythingElse(uint64 round, uint8 place, uint8 flip, uint8 length) external {
        DrandBeacon beacon = _quicknet();
        bytes memory changed = PUBLISHED;
        changed[place % 128] ^= bytes1(uint8(bound(flip, 1, 255)));
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSignatureInvalid.selector);
        beacon.submit(1_000, changed);
        vm.assume(round != 1_000);
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSignatureInvalid.selector);
        beacon.submit(round, PUBLISHED);
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSignatureInvalid.selector);
        beacon.submit(1_000, new bytes(length));
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSignatureInvalid.selector);
        beacon.submit(1, FIRST);
    }

    function testFuzz_mark_isTheFirstRoundThatIsMadeAfterTheLag(uint32 second, uint16 period, uint16 lag) external {
        uint32 periodSeconds = uint32(bound(period, 1, 1_000));
        uint32 lagSeconds = uint32(bound(lag, periodSeconds, 70_000));
        DrandBeacon beacon = new DrandBeacon(QUICKNET, GENESIS, periodSeconds, lagSeconds);
        vm.warp(bound(second, GENESIS - 100_000, uint256(GENESIS) + type(uint32).max));
        uint256 earliest = vm.getBlockTimestamp() + lagSeconds;
        uint256 round = beacon.mark();
        uint256 madeAt = GENESIS + (round - 1) * periodSeconds;
        check(madeAt >= earliest, "made too early");
        check(round == 1 || madeAt - periodSeconds < earliest, "not the first");
    }

    function test_constructor_refusesOtherKeysAndShortLags() external {
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSettingsInvalid.selector);
        new DrandBeacon(new bytes(255), GENESIS, 3, 120);
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSettingsInvalid.selector);
        new DrandBeacon(QUICKNET, GENESIS, 0, 120);
        vm.expectPartialRevert(DrandBeacon.DrandBeaconSettingsInvalid.selector);
        new DrandBeacon(QUICKNET, GENESIS, 121, 120);
        DrandBeacon beacon = new DrandBeacon(QUICKNET, GENESIS, 120, 120);
        check(keccak256(beacon.publicKey()) == keccak256(QUICKNET), "key");
        same(beacon.genesisSeconds() + beacon.periodSeconds() + beacon.lagSeconds(), GENESIS + 240, "settings");
    }

    // ---------------------------------------------------------------- InsecureLocalBeacon

    function testFuzz_local_answersOnceTheNextBlockIsOverAndTheSameFor256Blocks(uint8 within) external {
        InsecureLocalBeacon beacon = new InsecureLocalBeacon();
        uint256 fixedAt = beacon.mark();
        same(fixedAt, vm.getBlockNumber(), "mark");
        same(beacon.readyAt(fixedAt), fixedAt + 2, "ready");
        vm.expectPartialRevert(IBeacon.BeaconNotReady.selector);
        beacon.seedOf(fixedAt);
        vm.roll(fixedAt + 1);
        vm.expectPartialRevert(IBeacon.BeaconNotReady.selector);
        beacon.seedOf(fixedAt);
        vm.roll(fixedAt + 2);
        bytes32 seed = beacon.seedOf(fixedAt);
        check(
            seed
                == keccak256(
                    abi.encode(
                        keccak256("openledger/beacon/1"), block.chainid, fixedAt + 1, blockhash(fixedAt + 1)
                    )
                ),
            "seed"
        );
        vm.roll(fixedAt + 2 + within);
        check(beacon.seedOf(fixedAt) == seed, "kept");
        vm.roll(fixedAt + 2 + 256);
        check(
            beacon.seedOf(fixedAt)
                == keccak256(
                    abi.encode(
                        keccak256("openledger/beacon/1"), block.chainid, fixedAt + 257, blockhash(fixedAt + 257)
                    )
                ),
            "later the next"
        );
        check(beacon.isInsecure(), "and says so");
    }
}
