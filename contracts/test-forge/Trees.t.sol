// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StakeTree} from "../src/libraries/StakeTree.sol";
import {Base, vm} from "./Base.sol";

/// @title The sum tree of weights against plain lists of what stood where at the end of each block
contract TreesTest is Base {
    using StakeTree for StakeTree.Tree;
    using StakeTree for StakeTree.Omitted;

    uint256 private constant POSITIONS = 70;
    uint256 private constant BLOCKS = 12;
    uint256 private constant MOST = (1 << 56) - 1;

    StakeTree.Tree private _tree;
    uint256[POSITIONS] private _now;
    mapping(uint256 blockNumber => uint256[POSITIONS]) private _then;

    /// @dev Several changes in each of some blocks, the same position often twice; positions come in any order, so that
    /// the tree grows by one level and by several at once.
    function _change(uint256 seed) private {
        for (uint256 i = 0; i < BLOCKS; i++) {
            vm.roll(100 + 2 * i);
            for (uint256 j = 0; j < 3; j++) {
                uint256 word = uint256(keccak256(abi.encode(seed, i, j)));
                uint256 position = word % (i < 4 ? 4 : i < 8 ? 17 : POSITIONS);
                uint256 weight = (word >> 128) % 5 == 0 ? 0 : (word >> 64) % 1_000_000;
                _tree.set(position, _now[position], weight);
                _now[position] = weight;
            }
            _then[100 + 2 * i] = _now;
        }
    }

    function _sum(uint256[POSITIONS] storage weights) private view returns (uint256 sum) {
        for (uint256 i = 0; i < POSITIONS; i++) sum += weights[i];
    }

    function testFuzz_tree_remembersEveryBlock(uint256 seed) external {
        _change(seed);
        (uint256 levels, uint256 sum) = _tree.rootAt(99);
        same(levels + sum, 0, "before the first");
        for (uint256 number = 100; number < 102 + 2 * BLOCKS; number++) {
            // Odd blocks and those after the last hold what the one before them held.
            uint256 known = number - number % 2;
            if (known > 98 + 2 * BLOCKS) known = 98 + 2 * BLOCKS;
            (levels, sum) = _tree.rootAt(number);
            same(sum, _sum(_then[known]), "sum");
            for (uint256 i = 0; i < POSITIONS; i++) {
                same(_tree.weightAt(i, number), _then[known][i], "weight");
            }
        }
    }

    function testFuzz_tree_findsThePointAmongWhatIsNotOmitted(uint256 seed, uint256 which, uint256 point) external {
        _change(seed);
        uint256 number = 100 + 2 * (which % BLOCKS);
        uint256[POSITIONS] storage weights = _then[number];
        StakeTree.Omitted memory omitted = StakeTree.Omitted(0, new uint256[](2));
        (uint256 levels, uint256 sum) = _tree.rootAt(number);
        for (uint256 i = 0; i < 2; i++) {
            uint256 left = uint256(keccak256(abi.encode(seed, "omitted", i))) % POSITIONS;
            if (weights[left] == 0 || omitted.omittedUnder(0, left) > 0) continue;
            omitted.omit(left, weights[left]);
            sum -= weights[left];
        }
        vm.assume(sum > 0);
        point %= sum;
        (uint256 position, uint256 weight) = _tree.find(number, levels, point, omitted);
        same(weight, weights[position], "weight");
        same(omitted.omittedUnder(0, position), 0, "omitted");
        uint256 before = 0;
        for (uint256 i = 0; i < position; i++) before += weights[i] - omitted.omittedUnder(0, i);
        check(before <= point && point < before + weight, "place");
    }

    function set(uint256 position, uint256 previous, uint256 weight) external {
        _tree.set(position, previous, weight);
    }

    function testFuzz_tree_refusesASumAbove56Bits(uint256 weight, uint256 other) external {
        weight = bound(weight, 1, MOST);
        uint256 tooMuch = MOST + 1 + other % 1000;
        vm.expectPartialRevert(StakeTree.StakeTreeFull.selector);
        this.set(0, 0, tooMuch);
        this.set(0, 0, weight);
        // Four children fit each for themselves, until their sum has to stand in one lane of a node above.
        this.set(4, 0, MOST + 1 - weight);
        vm.expectPartialRevert(StakeTree.StakeTreeFull.selector);
        this.set(1, 0, MOST);
        vm.expectPartialRevert(StakeTree.StakeTreeFull.selector);
        this.set(16, 0, 1);
    }
}
