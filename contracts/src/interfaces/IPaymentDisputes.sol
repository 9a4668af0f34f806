// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochDisputes} from "./IEpochDisputes.sol";
import {IReferee} from "./IReferee.sol";

/// @title Disputes about what an anchored epoch pays, to whom and for which receipts
interface IPaymentDisputes {
    enum Fault {
        /// Receipts out of the order of their hashes.
        ListUnordered,
        /// Payments out of order, or a wrong running sum.
        PaymentSums,
        /// A cumulative payout that did not move by what the epoch's payments say.
        Movement,
        /// A payment that its receipt does not give, or one that it gives and that is missing.
        Payment,
        /// A payment for a receipt that is not in the epoch's list.
        Unbacked,
        /// A staker's part of the pool that is not its share of all stake.
        StakerShare,
        /// More fees of a channel than were collected.
        Uncollected,
        /// A receipt that an earlier epoch has paid.
        Repeated,
        /// A collected receipt that was presented before the epoch opened, and is not paid.
        Omitted
    }

    /// @notice A payment where it stands under a payments root.
    /// @param key Account, stakers' pool or channel, as EpochTrees has them.
    /// @param source Hash of the receipt; 0 for a staker's part of the pool.
    /// @param runningWei Sum of the amounts up to and including this one.
    struct Payment {
        uint256 index;
        uint256 key;
        bytes32 source;
        uint256 amountWei;
        uint256 runningWei;
        bytes32[] proof;
    }

    /// @notice A receipt where it stands in an epoch's list.
    struct Listed {
        uint256 index;
        bytes32 receiptHash;
        bytes32[] proof;
    }

    /// @notice All payments of one key, by what stands around them: each list has one leaf or none.
    /// @param before The leaf before them, `last` the last of them, and `behind` the leaf after them.
    struct Run {
        Payment[] before;
        Payment[] last;
        Payment[] behind;
    }

    /// @param left Two neighbours of the list of receipts.
    struct ListEvidence {
        uint64 epoch;
        Listed left;
        Listed right;
    }

    /// @param payments The first leaf, or two neighbours.
    struct PaymentSumEvidence {
        uint64 epoch;
        Payment[] payments;
    }

    /// @param before The key's leaf under the last final root, or the leaves that show that there is none; `present` the same
    /// under the disputed one.
    struct MovementEvidence {
        uint64 epoch;
        uint256 key;
        IEpochDisputes.Payout[] before;
        IEpochDisputes.Payout[] present;
        Run run;
    }

    /// @param index Place of the receipt in the list, with `proof`.
    /// @param division The receipt with all its leaves; its signature does not matter here.
    /// @param place The key's payment for this receipt, or the leaves that show that there is none.
    struct PaymentEvidence {
        uint64 epoch;
        uint256 index;
        bytes32[] proof;
        IReferee.DivisionEvidence division;
        uint256 key;
        Payment[] place;
    }

    /// @param place Leaves of the list between which the payment's receipt is missing.
    struct UnbackedEvidence {
        uint64 epoch;
        Payment payment;
        Listed[] place;
    }

    /// @param pool All payments of the stakers' pool.
    /// @param place The key's payment out of the pool, or the leaves that show that there is none.
    struct StakerEvidence {
        uint64 epoch;
        uint256 key;
        Run pool;
        Payment[] place;
    }

    struct UncollectedEvidence {
        uint64 epoch;
        address client;
        address provider;
        IEpochDisputes.Payout channel;
    }

    struct RepeatedEvidence {
        uint64 epoch;
        uint64 earlierEpoch;
        Listed present;
        Listed earlier;
    }

    /// @param presenter Who presented the receipt.
    /// @param places Per epoch, from the first that was not final when it was presented, the leaves of the list between which it
    /// is missing.
    /// @param channel Its channel's leaf among the payouts, or the leaves that show that there is none.
    struct OmittedEvidence {
        uint64 epoch;
        address presenter;
        IReferee.Receipt receipt;
        Listed[][] places;
        IEpochDisputes.Payout[] channel;
    }

    /// @notice A receipt that somebody put on chain, so that no anchorer can say it was not to be had.
    /// @param collectedWei Fees that its channel had been collected for.
    /// @param blockNumber Epochs that open in a later block have to pay it.
    /// @param finalisedCount Epochs that were final, in one of which it would have been refuted.
    struct Presented {
        uint128 collectedWei;
        uint48 blockNumber;
        uint64 finalisedCount;
    }

    event PaymentDisputed(uint64 indexed epoch, Fault fault, address indexed challenger, uint256 slashedWei);
    event ReceiptPresented(
        bytes32 indexed receiptHash, address indexed presenter, IReferee.DivisionEvidence division
    );
    event PresentationRefuted(bytes32 indexed receiptHash, address indexed presenter, uint64 epoch);

    error PaymentDisputesEvidenceNotCommitted(bytes32 commitment);
    error PaymentDisputesEvidenceTooEarly(bytes32 commitment, uint256 fromBlock);
    error PaymentDisputesNotInWindow(uint64 epoch);
    error PaymentDisputesProofInvalid(bytes32 root, uint256 index);
    error PaymentDisputesNoFault(uint64 epoch);
    error PaymentDisputesLeavesMismatch(bytes32 receiptHash);
    error PaymentDisputesReceiptUnsigned(bytes32 receiptHash, address provider);
    error PaymentDisputesReceiptUndivided(bytes32 receiptHash);
    error PaymentDisputesReceiptUnfit(bytes32 receiptHash);
    error PaymentDisputesNotPresented(bytes32 receiptHash, address presenter);
    error PaymentDisputesNotFinal(uint64 epoch);

    function challengeList(ListEvidence calldata evidence) external;
    function challengePaymentSums(PaymentSumEvidence calldata evidence) external;
    function challengeMovement(MovementEvidence calldata evidence) external;
    function challengePayment(PaymentEvidence calldata evidence) external;
    function challengeUnbacked(UnbackedEvidence calldata evidence) external;
    function challengeStakerShare(StakerEvidence calldata evidence) external;
    function challengeUncollected(UncollectedEvidence calldata evidence) external;
    function challengeRepeated(RepeatedEvidence calldata evidence) external;
    function challengeOmitted(OmittedEvidence calldata evidence) external;
    function present(IReferee.DivisionEvidence calldata division) external returns (bytes32 receiptHash);
    function refute(
        bytes32 receiptHash,
        address presenter,
        uint64 epoch,
        uint256 index,
        bytes32[] calldata proof
    ) external;

    function checkReceipt(IReferee.DivisionEvidence calldata division) external view returns (bytes32 receiptHash);
    function getPresented(bytes32 receiptHash, address presenter) external view returns (Presented memory);
    function channelKey(address client, address provider) external pure returns (uint256);
}
