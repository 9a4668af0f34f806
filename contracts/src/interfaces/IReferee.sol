// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Disputes that one transaction decides from bytes and integers
interface IReferee {
    struct Receipt {
        bytes32 requestId;
        address client;
        address provider;
        bytes32 adapterId;
        bytes32 promptHash;
        bytes32 outputHash;
        uint32 promptTokens;
        uint32 outputTokens;
        bytes32 querySketchHash;
        uint256 queryNorm;
        bytes32 scoreRoot;
        uint32 scoreCount;
        bytes32 spanRoot;
        uint32 spanCount;
        uint256 computeWei;
        uint256 feeWei;
        uint64 issuedAt;
    }

    struct ScoreLeaf {
        uint256 sketchIndex;
        bytes32 recordHash;
        address contributor;
        int256 dot;
        uint256 score;
        uint256 amountWei;
    }

    struct SketchLeaf {
        bytes32 recordHash;
        address contributor;
        uint256 cluster;
        uint256 registeredAt;
        uint256 norm;
        bytes sketch;
    }

    struct SpanLeaf {
        bytes32 requestId;
        uint256 exchangeOffset;
        uint256 length;
        uint256 recordIndex;
        uint256 recordOffset;
        address contributor;
        uint256 weight;
        uint256 amountWei;
    }

    struct SketchPeer {
        SketchLeaf sketchLeaf;
        bytes32[] proof;
    }

    /// @param leaves All of the receipt's score leaves, in their order.
    /// @param sketchIndex Place of the record that was left out.
    /// @param better Sketches of the leaves that rank before it, in their order.
    struct OmissionEvidence {
        Receipt receipt;
        bytes signature;
        ScoreLeaf[] leaves;
        bytes querySketch;
        uint256 sketchIndex;
        SketchLeaf sketchLeaf;
        bytes32[] sketchProof;
        SketchPeer[] better;
    }

    /// @param scores All of the receipt's score leaves, and `spans` all of its span leaves, in their order.
    struct DivisionEvidence {
        Receipt receipt;
        bytes signature;
        ScoreLeaf[] scores;
        SpanLeaf[] spans;
    }

    struct EquivocationEvidence {
        Receipt first;
        bytes firstSignature;
        Receipt second;
        bytes secondSignature;
    }

    enum VerdictKind {
        Omission,
        Division,
        Equivocation
    }

    /// @notice A verdict on a receipt as a whole.
    struct Verdict {
        address provider;
        uint64 judgedAt;
        address challenger;
        uint128 slashedWei;
    }

    /// @dev In this order of precedence; None means that the leaf is right.
    enum Fault {
        None,
        NoSuchRecord,
        OtherRecord,
        OtherContributor,
        QueryNorm,
        Dot,
        Score,
        BelowThreshold
    }

    /// @notice The truth about a leaf.
    /// @param signer Who signed the receipt; with an opened answer its provider.
    struct Finding {
        Fault fault;
        int256 dot;
        uint256 score;
        uint256 queryNorm;
        bool passes;
        bytes32 receiptHash;
        address signer;
    }

    /// @notice What is withheld of a judged leaf; the referee keeps only its hash.
    /// @param amountWei The leaf's amount, at most its receipt's fee, at most 96 bits.
    struct JudgedLeaf {
        bytes32 receiptHash;
        uint256 leafIndex;
        address contributor;
        uint96 amountWei;
        address client;
    }

    enum LeafState {
        Unjudged,
        Judged,
        Withheld
    }

    event EvidenceCommitted(bytes32 indexed commitment, address indexed sender);
    /// @param epoch The anchored epoch in which the leaf was withheld at once; 0 if it was not.
    event ScoreJudged(
        bytes32 indexed receiptHash,
        address indexed provider,
        address indexed challenger,
        uint256 leafIndex,
        address contributor,
        uint256 amountWei,
        address client,
        Fault fault,
        uint256 slashedWei,
        uint64 epoch
    );
    event ReceiptJudged(
        VerdictKind indexed kind,
        bytes32 indexed subject,
        address indexed provider,
        bytes32 requestId,
        address challenger,
        uint256 slashedWei
    );
    event LeafWithheld(bytes32 indexed receiptHash, uint256 indexed leafIndex, uint64 indexed epoch);

    error RefereeEvidenceKnown(bytes32 commitment);
    error RefereeEvidenceNotCommitted(bytes32 commitment);
    error RefereeEvidenceTooEarly(bytes32 commitment, uint256 fromBlock);
    error RefereeReceiptSignerMismatch(address expected, address recovered);
    error RefereeEvidenceForm(uint256 form);
    error RefereeEvidenceLength(uint256 given, uint256 expected);
    error RefereeLeafOutside(uint256 leafIndex, uint256 scoreCount);
    error RefereeSketchProofInvalid(bytes32 sketchRoot, uint256 sketchIndex);
    error RefereeQuerySketchMismatch(bytes32 expected, bytes32 computed);
    error RefereeSketchLength(uint256 length);
    error RefereeScoreCorrect(int256 dot, uint256 score);
    error RefereeAlreadyJudged(bytes32 receiptHash, uint256 leafIndex);
    error RefereeUnknownJudgement(bytes32 receiptHash, uint256 leafIndex);
    error RefereeAlreadyWithheld(bytes32 receiptHash, uint256 leafIndex);
    error RefereeReceiptOutside(uint256 receiptIndex, uint256 receiptCount);
    error RefereeReceiptNotAnchored(bytes32 receiptHash, uint64 epoch, uint256 receiptIndex);

    error RefereeLeavesMismatch(bytes32 expected, bytes32 computed);
    error RefereeNotOmitted(uint256 sketchIndex);
    error RefereeBetterMissing(uint256 leafIndex);
    error RefereeDivisionCorrect(bytes32 receiptHash);
    error RefereeNotEquivocation(bytes32 firstHash, bytes32 secondHash);
    error RefereeVerdictKnown(VerdictKind kind, bytes32 subject);

    function commitEvidence(bytes32 commitment) external;
    function challengeScore() external;
    function challengeAnchoredScore() external;
    function challengeOmission(OmissionEvidence calldata evidence) external;
    function challengeDivision(DivisionEvidence calldata evidence) external;
    function challengeEquivocation(EquivocationEvidence calldata evidence) external;
    function verdictOf(VerdictKind kind, bytes32 subject) external view returns (Verdict memory);
    function withholdLeaf(JudgedLeaf calldata leaf, uint64 epoch, uint256 receiptIndex, bytes32[] calldata proof) external;

    function findScore() external view returns (Finding memory);
    function stateOf(bytes32 receiptHash, uint256 leafIndex) external view returns (LeafState);
    function evidenceBlock(bytes32 commitment) external view returns (uint256);
    function evidenceCommitmentOf(address challenger, bytes32 evidenceHash) external pure returns (bytes32);
    function receiptHashOf(Receipt calldata receipt) external pure returns (bytes32);
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);
}
