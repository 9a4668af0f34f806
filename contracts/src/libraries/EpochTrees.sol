// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochDisputes} from "../interfaces/IEpochDisputes.sol";
import {IPaymentDisputes} from "../interfaces/IPaymentDisputes.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title What the sorted trees of an anchored epoch say about a key (docs/protocol.md section 5)
/// @notice A key is an account, the stakers' pool or a channel. Every function returns false where the leaves shown do not
/// say it; whether a tree is sorted at all is a dispute of its own.
library EpochTrees {
    /// @notice The key of what receipts give to all stakers together.
    uint256 internal constant POOL = 1 << 160;
    bytes32 private constant CHANNEL_TAG = keccak256("openledger/channel/1");

    /// @dev Where a shown leaf stands against the one that is looked for.
    enum Side {
        Before,
        Same,
        Behind
    }

    /// @notice The key of a client's fees to a provider; the highest bit keeps it behind every account.
    function channelKey(address client, address provider) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(CHANNEL_TAG, client, provider))) | (1 << 255);
    }

    function isAccount(uint256 key) internal pure returns (bool) {
        return key >> 160 == 0;
    }

    function isUnder(IEpochDisputes.Payout calldata leaf, bytes32 root, uint256 count)
        internal
        pure
        returns (bool)
    {
        bytes memory words = abi.encode(leaf.index, leaf.key, leaf.cumulativeWei, leaf.runningWei);
        return MerkleTree.verify(root, MerkleTree.leaf(words), leaf.index, count, leaf.proof);
    }

    function isUnder(IPaymentDisputes.Payment calldata leaf, bytes32 root, uint256 count)
        internal
        pure
        returns (bool)
    {
        bytes memory words = abi.encode(leaf.index, leaf.key, leaf.source, leaf.amountWei, leaf.runningWei);
        return MerkleTree.verify(root, MerkleTree.leaf(words), leaf.index, count, leaf.proof);
    }

    /// @notice Whether a receipt stands at this place of an epoch's list.
    function isListed(
        bytes32 receiptHash,
        uint256 index,
        bytes32[] calldata proof,
        bytes32 root,
        uint256 count
    ) internal pure returns (bool) {
        return MerkleTree.verify(root, MerkleTree.leaf(abi.encode(receiptHash)), index, count, proof);
    }

    /// @notice What a key is owed, or a channel covered, in all; 0 if it has no leaf. The leaves were found under the root.
    function cumulativeAt(IEpochDisputes.Payout[] calldata place, uint256 key, uint256 count)
        internal
        pure
        returns (bool shown, uint256 amountWei)
    {
        if (place.length == 1 && place[0].key == key) return (true, place[0].cumulativeWei);
        (uint256[] memory indexes, Side[] memory sides) = _arrays(place.length);
        for (uint256 i = 0; i < place.length; i++) {
            (indexes[i], sides[i]) = (place[i].index, _side(place[i].key, key));
        }
        shown = _isGap(indexes, sides, count);
    }

    /// @notice What a key got from one source; 0 if it has no leaf. The leaves were found under the root.
    function amountAt(IPaymentDisputes.Payment[] calldata place, uint256 key, bytes32 source, uint256 count)
        internal
        pure
        returns (bool shown, uint256 amountWei)
    {
        if (place.length == 1 && place[0].key == key && place[0].source == source) {
            return (true, place[0].amountWei);
        }
        (uint256[] memory indexes, Side[] memory sides) = _arrays(place.length);
        for (uint256 i = 0; i < place.length; i++) {
            Side side = _side(place[i].key, key);
            if (side == Side.Same) side = _side(uint256(place[i].source), uint256(source));
            (indexes[i], sides[i]) = (place[i].index, side);
        }
        shown = _isGap(indexes, sides, count);
    }

    /// @notice Whether a receipt is not in the list. The leaves were found under the root.
    function isUnlisted(IPaymentDisputes.Listed[] calldata place, bytes32 receiptHash, uint256 count)
        internal
        pure
        returns (bool)
    {
        (uint256[] memory indexes, Side[] memory sides) = _arrays(place.length);
        for (uint256 i = 0; i < place.length; i++) {
            (indexes[i], sides[i]) =
                (place[i].index, _side(uint256(place[i].receiptHash), uint256(receiptHash)));
        }
        return _isGap(indexes, sides, count);
    }

    /// @notice Sum of all that a key got in an epoch: the difference of running sums around its leaves, which stand together.
    function sumOf(IPaymentDisputes.Run calldata run, uint256 key, uint256 count)
        internal
        pure
        returns (bool shown, uint256 sumWei)
    {
        IPaymentDisputes.Payment[] calldata before = run.before;
        IPaymentDisputes.Payment[] calldata last = run.last;
        IPaymentDisputes.Payment[] calldata behind = run.behind;
        if (before.length > 1 || last.length > 1 || behind.length > 1) return (false, 0);
        uint256 next = 0;
        uint256 runningWei = 0;
        if (before.length == 1) {
            if (before[0].key >= key) return (false, 0);
            (next, runningWei) = (before[0].index + 1, before[0].runningWei);
        }
        if (last.length == 1) {
            if (last[0].key != key || last[0].index < next || last[0].runningWei < runningWei) return (false, 0);
            sumWei = last[0].runningWei - runningWei;
            next = last[0].index + 1;
        }
        if (behind.length == 0) return (next == count, sumWei);
        shown = behind[0].key > key && behind[0].index == next;
    }

    /// @dev Two neighbours with nothing between them, the first or the last alone, or a tree of nothing.
    function _isGap(uint256[] memory indexes, Side[] memory sides, uint256 count) private pure returns (bool) {
        if (indexes.length == 0) return count == 0;
        if (indexes.length == 1) {
            if (sides[0] == Side.Before) return indexes[0] == count - 1;
            return sides[0] == Side.Behind && indexes[0] == 0;
        }
        return indexes.length == 2 && indexes[1] == indexes[0] + 1 && sides[0] == Side.Before
            && sides[1] == Side.Behind;
    }

    function _arrays(uint256 length) private pure returns (uint256[] memory, Side[] memory) {
        return (new uint256[](length), new Side[](length));
    }

    function _side(uint256 shown, uint256 wanted) private pure returns (Side) {
        if (shown == wanted) return Side.Same;
        return shown < wanted ? Side.Before : Side.Behind;
    }
}
