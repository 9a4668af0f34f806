// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {planSize, planned} from "plan/Plan.sol";

/// @dev The cheatcodes that the tests use.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function expectEmit(address emitter) external;
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function deal(address account, uint256 balanceWei) external;
    function warp(uint256 timestamp) external;
    function roll(uint256 blockNumber) external;
    function chainId(uint256 id) external;
    function expectRevert() external;
    function expectRevert(bytes4 selector) external;
    function expectPartialRevert(bytes4 selector) external;
    function assume(bool condition) external pure;
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function getCode(string calldata artifact) external view returns (bytes memory);
    function getBlockTimestamp() external view returns (uint256);
    function getBlockNumber() external view returns (uint256);
    function setNonce(address account, uint64 nonce) external;
    function writeLine(string calldata path, string calldata line) external;
    function toString(uint256 value) external pure returns (string memory);
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

/// @title Assertions, bounds and a deployment of every contract under the local preset
/// @dev The plan (contracts/tools/forge.ts) is the one that deployments follow: names, arguments and addresses.
abstract contract Base {
    bool public constant IS_TEST = true;
    address internal constant DEPLOYER = address(0xd1);

    function contractAt(string memory name) internal pure returns (address) {
        for (uint256 i = 0; i < planSize(); i++) {
            (string memory each,, address place) = planned(i);
            if (keccak256(bytes(each)) == keccak256(bytes(name))) return place;
        }
        revert(name);
    }

    function deployAll() internal {
        vm.warp(1_800_000_000);
        vm.roll(100);
        for (uint256 i = 0; i < planSize(); i++) {
            (string memory name, bytes memory args, address place) = planned(i);
            bytes memory code = abi.encodePacked(vm.getCode(string.concat(name, ".sol:", name)), args);
            address made;
            vm.prank(DEPLOYER);
            assembly {
                made := create(0, add(code, 0x20), mload(code))
            }
            check(made == place, string.concat(name, " is not where the plan says"));
        }
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    function check(bool condition, string memory what) internal pure {
        require(condition, what);
    }

    function same(uint256 a, uint256 b, string memory what) internal pure {
        if (a != b) revert(string.concat(what, ": ", vm.toString(a), " is not ", vm.toString(b)));
    }
}
