// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Sum tree of weights that remembers every block, for drawing in proportion to weight
/// @notice Four children to a node, whose sums share one word with the block in which they came to hold: a change writes
/// one word per level, and a draw reads one path per level (docs/protocol.md section 3). Positions are never reused, so
/// that what stands at a position at an earlier block is still known.
library StakeTree {
    /// @dev A node's word: the block above four sums of 56 bits.
    uint256 private constant LANE_BITS = 56;
    uint256 private constant LANE = (1 << LANE_BITS) - 1;
    uint256 private constant BLOCK_SHIFT = 4 * LANE_BITS;

    /// @dev Words of a node in the order of their blocks, by level << 32 | place; level 0 holds the weights themselves.
    struct Tree {
        uint256 levels;
        mapping(uint256 key => uint256[] words) nodes;
    }

    /// @notice Weights that a draw leaves out: position << 56 | weight, `count` of them.
    struct Omitted {
        uint256 count;
        uint256[] entries;
    }

    /// @notice A sum would not fit in its 56 bits.
    error StakeTreeFull(uint256 sum);

    /// @notice Changes the weight at a position from `previous`, for this block and later ones.
    function set(Tree storage tree, uint256 position, uint256 previous, uint256 weight) internal {
        uint256 levels = tree.levels;
        if (levels == 0 || position >> (2 * levels) > 0) {
            while (levels == 0 || position >> (2 * levels) > 0) {
                // What was the whole tree becomes the first child of a new root.
                if (levels > 0) _write(tree, levels << 32, _lane(_sum(_latest(tree, (levels - 1) << 32)), 0));
                levels++;
            }
            tree.levels = levels;
        }
        for (uint256 level = 0; level < levels; level++) {
            uint256 place = position >> (2 * level);
            uint256 shift = LANE_BITS * (place & 3);
            uint256 key = level << 32 | place >> 2;
            uint256 lanes = _latest(tree, key);
            uint256 changed = ((lanes >> shift) & LANE) - previous + weight;
            _write(tree, key, (lanes & ~(LANE << shift)) | _lane(changed, shift));
        }
    }

    /// @notice The root at the end of a block: how many levels there were, and the sum of all weights.
    function rootAt(Tree storage tree, uint256 blockNumber) internal view returns (uint256 levels, uint256 sum) {
        for (levels = tree.levels; levels > 0; levels--) {
            uint256 word = _at(tree, (levels - 1) << 32, blockNumber);
            if (word > 0) return (levels, _sum(word));
        }
    }

    /// @notice The weight at a position at the end of a block.
    function weightAt(Tree storage tree, uint256 position, uint256 blockNumber) internal view returns (uint256) {
        return (_at(tree, position >> 2, blockNumber) >> (LANE_BITS * (position & 3))) & LANE;
    }

    /// @notice The position that a point below the sum of what is not omitted falls on, positions in ascending order.
    /// @param levels What rootAt gives for that block.
    function find(Tree storage tree, uint256 blockNumber, uint256 levels, uint256 point, Omitted memory omitted)
        internal
        view
        returns (uint256 position, uint256 weight)
    {
        for (uint256 above = levels; above > 0; above--) {
            uint256 level = above - 1;
            uint256 word = _at(tree, level << 32 | position, blockNumber);
            position <<= 2;
            while (true) {
                weight = (word & LANE) - omittedUnder(omitted, level, position);
                if (point < weight) break;
                point -= weight;
                word >>= LANE_BITS;
                position++;
            }
        }
    }

    /// @notice Sum of what is omitted of the subtree at a place of a level; level 0 is a single position.
    function omittedUnder(Omitted memory omitted, uint256 level, uint256 place) internal pure returns (uint256 sum) {
        uint256 shift = LANE_BITS + 2 * level;
        for (uint256 i = 0; i < omitted.count; i++) {
            if (omitted.entries[i] >> shift == place) sum += omitted.entries[i] & LANE;
        }
    }

    /// @notice Leaves a position out of the rest of a draw; there must be room for it.
    function omit(Omitted memory omitted, uint256 position, uint256 weight) internal pure {
        omitted.entries[omitted.count++] = position << LANE_BITS | weight;
    }

    function _lane(uint256 sum, uint256 shift) private pure returns (uint256) {
        require(sum <= LANE, StakeTreeFull(sum));
        return sum << shift;
    }

    function _sum(uint256 word) private pure returns (uint256 sum) {
        for (uint256 shift = 0; shift < BLOCK_SHIFT; shift += LANE_BITS) sum += (word >> shift) & LANE;
    }

    /// @dev The four sums as they are now, without their block.
    function _latest(Tree storage tree, uint256 key) private view returns (uint256) {
        uint256[] storage words = tree.nodes[key];
        uint256 length = words.length;
        return length == 0 ? 0 : (words[length - 1] << (256 - BLOCK_SHIFT)) >> (256 - BLOCK_SHIFT);
    }

    function _write(Tree storage tree, uint256 key, uint256 lanes) private {
        uint256[] storage words = tree.nodes[key];
        uint256 length = words.length;
        uint256 word = block.number << BLOCK_SHIFT | lanes;
        if (length > 0 && words[length - 1] >> BLOCK_SHIFT == block.number) words[length - 1] = word;
        else words.push(word);
    }

    /// @dev A node's word at the end of a block, 0 when it had none. Searched from the newest in growing steps, because
    /// draws are about the near past and the root has a word for every change of any weight.
    function _at(Tree storage tree, uint256 key, uint256 blockNumber) private view returns (uint256 word) {
        uint256[] storage words = tree.nodes[key];
        uint256 high = words.length;
        uint256 step = 1;
        uint256 low = 0;
        while (high > 0) {
            uint256 probe = high > step ? high - step : 0;
            uint256 probed = words[probe];
            if (probed >> BLOCK_SHIFT <= blockNumber) {
                word = probed;
                low = probe + 1;
                break;
            }
            high = probe;
            step <<= 1;
        }
        // All below `low` are early enough, all from `high` on too late.
        while (low < high) {
            uint256 middle = (low + high) / 2;
            uint256 probed = words[middle];
            if (probed >> BLOCK_SHIFT <= blockNumber) {
                word = probed;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
    }
}
