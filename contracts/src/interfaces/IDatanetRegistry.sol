// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Datanets, their contributions and their versions
interface IDatanetRegistry {
    enum ContributionState {
        None,
        Committed,
        Revealed,
        Accepted,
        Refused,
        Lapsed
    }

    struct Datanet {
        address curator;
        uint64 createdAt;
        uint32 versionCount;
        bytes32 licence;
        bytes32 policyHash;
        string name;
    }

    /// @param committedAt Second of the commit's block: the contribution's priority.
    /// @param revokedAt Second from which no later version may hold its records; 0 while it stands.
    /// @param relayer Who sent the commit and paid its deposit; it or the contributor may reveal.
    /// @param revealBy Last second in which it may be revealed for the first time.
    /// @param depositWei What is held until then; 0 once it was returned or burned.
    struct Contribution {
        bytes32 datanetId;
        address contributor;
        uint64 committedAt;
        ContributionState state;
        address relayer;
        uint32 recordCount;
        bytes32 commitment;
        bytes32 recordsRoot;
        bytes32 salt;
        bytes32 manifest;
        bytes32 evidence;
        bytes32 earlierRecordHash;
        uint64 revokedAt;
        uint64 revealBy;
        uint96 depositWei;
    }

    struct Version {
        bytes32 root;
        bytes32 manifest;
        uint32 recordCount;
        uint64 publishedAt;
    }

    /// @notice A record in a version (docs/protocol.md section 2) and in the contribution that it came in.
    /// @param index Its place in the version; `proof` leads from there to the version's root.
    /// @param position Its place in the contribution; `recordProof` leads from there to the contribution's recordsRoot.
    struct PlacedRecord {
        address contributor;
        uint64 registeredAt;
        uint32 cluster;
        uint32 index;
        bytes32[] proof;
        uint256 contributionId;
        uint32 position;
        bytes32[] recordProof;
    }

    struct SeparationEvidence {
        bytes32 datanetId;
        uint32 version;
        bytes32 recordHash;
        PlacedRecord first;
        PlacedRecord second;
    }

    event DatanetCreated(bytes32 indexed datanetId, address indexed curator, bytes32 licence, bytes32 policyHash, string name);
    event ContributionCommitted(
        uint256 indexed contributionId,
        bytes32 indexed datanetId,
        address indexed contributor,
        bytes32 commitment,
        uint32 recordCount
    );
    event ContributionRevoked(
        uint256 indexed contributionId, bytes32 indexed datanetId, address indexed sender, bytes32 reason
    );
    event ContributionRevealed(
        uint256 indexed contributionId,
        bytes32 indexed datanetId,
        address indexed contributor,
        bytes32 recordsRoot,
        bytes32 manifest
    );
    event ContributionAccepted(uint256 indexed contributionId, bytes32 indexed datanetId, address indexed contributor);
    event ContributionRefused(
        uint256 indexed contributionId,
        bytes32 indexed datanetId,
        address indexed contributor,
        bytes32 evidence,
        bytes32 earlierRecordHash
    );
    /// @notice A contributor, known by its first key, has another key.
    event ContributorRotated(address indexed first, address indexed from, address indexed to);
    /// @notice Nobody revealed it in time, and its deposit is burned.
    event ContributionLapsed(
        uint256 indexed contributionId, bytes32 indexed datanetId, address indexed contributor, uint256 burnedWei
    );
    event VersionPublished(
        bytes32 indexed datanetId, uint32 indexed version, bytes32 root, uint32 recordCount, bytes32 manifest
    );
    /// @notice Two clusters of a version are one; its author lost what it had locked for that version.
    event ClustersMerged(
        bytes32 indexed datanetId,
        uint32 indexed version,
        address indexed challenger,
        bytes32 recordHash,
        uint32 cluster,
        uint32 otherCluster,
        uint256 slashedWei
    );
    event VersionReleased(bytes32 indexed datanetId, uint32 indexed version, uint256 amountWei);

    error DatanetRegistryEvidenceNotCommitted(bytes32 commitment);
    error DatanetRegistryEvidenceTooEarly(bytes32 commitment, uint256 fromBlock);
    error DatanetRegistryNotSeparated(bytes32 recordHash, uint256 cluster, uint256 otherCluster);
    error DatanetRegistryAlreadyMerged(uint256 cluster, uint256 otherCluster);
    error DatanetRegistryProofInvalid(bytes32 root, uint256 index);
    error DatanetRegistryNotRevealedBefore(uint256 contributionId, uint256 publishedAt);
    error DatanetRegistryVersionHeld(bytes32 datanetId, uint256 version, uint256 until);
    error DatanetRegistryAlreadyRevoked(uint256 contributionId);
    error DatanetRegistryNotConcerned(address sender, address contributor, address curator);
    error DatanetRegistryUnknownDatanet(bytes32 datanetId);
    error DatanetRegistryUnknownContribution(uint256 contributionId);
    error DatanetRegistryUnknownVersion(bytes32 datanetId, uint256 version);
    error DatanetRegistryNotCurator(address caller, address curator);
    error DatanetRegistryNotContributor(address caller, address contributor);
    error DatanetRegistrySignerMismatch(address expected, address recovered);
    error DatanetRegistryCommitmentKnown(address contributor, bytes32 commitment);
    error DatanetRegistryCommitmentMismatch(bytes32 expected, bytes32 computed);
    error DatanetRegistryWrongState(uint256 contributionId, ContributionState state);
    error DatanetRegistryCountZero();
    error DatanetRegistryKeyExpired(uint256 deadline);
    error DatanetRegistryKeyRetired(address account);
    error DatanetRegistryKeyTaken(address account);
    error DatanetRegistryDepositMismatch(uint256 neededWei, uint256 sentWei);
    error DatanetRegistryRevealLate(uint256 contributionId, uint256 revealBy);
    error DatanetRegistryRevealOpen(uint256 contributionId, uint256 revealBy);

    function createDatanet(bytes32 licence, bytes32 policyHash, string calldata name)
        external
        returns (bytes32 datanetId);
    function commit(
        bytes32 datanetId,
        address contributor,
        bytes32 commitment,
        uint32 recordCount,
        bytes calldata signature
    ) external payable returns (uint256 contributionId);
    function reveal(uint256 contributionId, bytes32 recordsRoot, bytes32 salt, bytes32 manifest) external;
    function lapse(uint256 contributionId) external;
    function accept(uint256 contributionId) external;
    function refuse(uint256 contributionId, bytes32 evidence, bytes32 earlierRecordHash) external;
    function revoke(uint256 contributionId, bytes32 reason) external;
    function publishVersion(bytes32 datanetId, bytes32 root, uint32 recordCount, bytes32 manifest)
        external
        returns (uint32 version);
    function mergeClusters(SeparationEvidence calldata evidence) external returns (uint256 slashedWei);
    function releaseVersion(bytes32 datanetId, uint32 version) external;

    function rotateContributor(
        address from,
        address to,
        uint64 deadline,
        bytes calldata fromSignature,
        bytes calldata toSignature
    ) external;

    function contributorOf(address account) external view returns (address);
    function contributorsOf(address[] calldata accounts) external view returns (address[] memory);
    function rotationNonce(address account) external view returns (uint256);
    function rotationDigest(address from, address to, uint256 nonce, uint64 deadline) external view returns (bytes32);
    function contributionIdOf(address contributor, bytes32 commitment) external view returns (uint256);
    function depositsWei() external view returns (uint256);
    function burnedWei() external view returns (uint256);
    function accountedWei() external view returns (uint256);
    function revealedAt(uint256 contributionId) external view returns (uint64);
    function heldUntil(bytes32 datanetId, uint32 version) external view returns (uint64);
    function areMerged(bytes32 datanetId, uint32 version, uint32 cluster, uint32 otherCluster)
        external
        view
        returns (bool);
    function datanetCount() external view returns (uint256);
    function datanetIds(uint256 from, uint256 count) external view returns (bytes32[] memory);
    function getDatanet(bytes32 datanetId) external view returns (Datanet memory);
    function contributionTotal() external view returns (uint256);
    function contributionCount(bytes32 datanetId) external view returns (uint256);
    function contributionIds(bytes32 datanetId, uint256 from, uint256 count) external view returns (uint256[] memory);
    function getContribution(uint256 contributionId) external view returns (Contribution memory);
    function getContributions(bytes32 datanetId, uint256 from, uint256 count)
        external
        view
        returns (uint256[] memory ids, Contribution[] memory page);
    function getVersion(bytes32 datanetId, uint32 version) external view returns (Version memory);
    function commitmentOf(
        bytes32 datanetId,
        address contributor,
        bytes32 recordsRoot,
        uint32 recordCount,
        bytes32 salt
    ) external pure returns (bytes32);
    function contributionDigest(bytes32 datanetId, address contributor, bytes32 commitment, uint32 recordCount)
        external
        view
        returns (bytes32);
}
