// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ContributorKeys} from "./ContributorKeys.sol";
import {Credits} from "./Credits.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {CommittedEvidence} from "./libraries/CommittedEvidence.sol";
import {Locks} from "./libraries/Locks.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";

/// @title Datanets, their contributions and their versions
/// @notice A contribution is committed under its contributor's signature before anybody sees its records, so that the
/// time of the commit decides who was first; a deposit stands for the reveal. Versions are Merkle roots; versions and contributions count from 1. What
/// records are worth is nobody's fault here: only an author that put the same bytes into two clusters of a version,
/// having seen both before, loses the stake that it locked for that version.
contract DatanetRegistry is ContributorKeys, Credits {
    bytes32 private constant DATANET_TAG = keccak256("openledger/datanet/1");
    bytes32 private constant CONTRIBUTION_TAG = keccak256("openledger/contribution/1");
    bytes32 private constant CONTRIBUTION_TYPE =
        keccak256("Contribution(bytes32 datanetId,address contributor,bytes32 commitment,uint32 recordCount)");

    IParameters public immutable parameters;
    IStaking public immutable staking;
    IReferee public immutable referee;

    bytes32[] private _datanetIds;
    mapping(bytes32 datanetId => Datanet) private _datanets;
    mapping(bytes32 datanetId => mapping(uint32 version => Version)) private _versions;
    mapping(bytes32 datanetId => uint256[]) private _contributionIds;
    mapping(uint256 contributionId => Contribution) private _contributions;
    /// @notice Under which id a contributor's commitment stands; 0: nowhere.
    mapping(address contributor => mapping(bytes32 commitment => uint256)) public contributionIdOf;
    uint256 public contributionTotal;
    /// @notice Deposits of contributions that are not revealed yet, in wei.
    uint256 public depositsWei;
    /// @notice Deposits of contributions that nobody revealed in time; they leave nobody's hands again.
    uint256 public burnedWei;
    /// @notice Second of a contribution's first reveal; 0 while its records are hidden.
    mapping(uint256 contributionId => uint64) public revealedAt;
    /// @notice Second from which what a version's author locked for it may be released; 0 if it locked nothing.
    mapping(bytes32 datanetId => mapping(uint32 version => uint64)) public heldUntil;
    mapping(bytes32 pairKey => bool) private _merged;

    constructor(IParameters parameters_, IStaking staking_, IReferee referee_) {
        parameters = parameters_;
        staking = staking_;
        referee = referee_;
    }

    modifier onlyCurator(bytes32 datanetId) {
        address curator = _existing(datanetId).curator;
        require(msg.sender == curator, DatanetRegistryNotCurator(msg.sender, curator));
        _;
    }

    /// @notice Creates a datanet with the caller as curator.
    /// @param licence Digest of the licence's text; `policyHash` of the rules of acceptance.
    function createDatanet(bytes32 licence, bytes32 policyHash, string calldata name)
        external
        returns (bytes32 datanetId)
    {
        datanetId = keccak256(
            abi.encode(DATANET_TAG, block.chainid, address(this), msg.sender, _datanetIds.length)
        );
        _datanetIds.push(datanetId);
        _datanets[datanetId] = Datanet(msg.sender, uint64(block.timestamp), 0, licence, policyHash, name);
        emit DatanetCreated(datanetId, msg.sender, licence, policyHash, name);
    }

    /// @notice Records a commitment to hidden records; anybody may relay what the contributor signed, and pays the deposit,
    /// which comes back as a credit with the first reveal. It makes commitments that nobody means to open cost something,
    /// and nothing else: what the curator then decides has no part in it.
    function commit(
        bytes32 datanetId,
        address contributor,
        bytes32 commitment,
        uint32 recordCount,
        bytes calldata signature
    ) external payable returns (uint256 contributionId) {
        _existing(datanetId);
        require(recordCount > 0, DatanetRegistryCountZero());
        require(
            contributionIdOf[contributor][commitment] == 0, DatanetRegistryCommitmentKnown(contributor, commitment)
        );
        _checkSigned(
            contributor, contributionDigest(datanetId, contributor, commitment, recordCount), signature
        );
        _checkCurrent(contributor);
        (uint256 depositWei, uint256 revealSeconds) = parameters.depositTerms();
        require(msg.value == depositWei, DatanetRegistryDepositMismatch(depositWei, msg.value));
        depositsWei += depositWei;
        contributionId = ++contributionTotal;
        contributionIdOf[contributor][commitment] = contributionId;
        Contribution storage entry = _contributions[contributionId];
        entry.datanetId = datanetId;
        entry.contributor = contributor;
        entry.committedAt = uint64(block.timestamp);
        entry.state = ContributionState.Committed;
        entry.relayer = msg.sender;
        entry.recordCount = recordCount;
        entry.commitment = commitment;
        entry.revealBy = uint64(block.timestamp + revealSeconds);
        entry.depositWei = uint96(depositWei);
        _contributionIds[datanetId].push(contributionId);
        emit ContributionCommitted(contributionId, datanetId, contributor, commitment, recordCount);
    }

    /// @notice Shows what was committed. The manifest is not bound by the commitment, therefore only the contributor or
    /// its relayer may name it, and the contributor may correct it until the curator has decided.
    function reveal(uint256 contributionId, bytes32 recordsRoot, bytes32 salt, bytes32 manifest) external {
        Contribution storage entry = _entry(contributionId);
        address contributor = entry.contributor;
        address current = contributorOf(contributor);
        require(
            entry.state == ContributionState.Committed
                || (entry.state == ContributionState.Revealed && msg.sender == current),
            DatanetRegistryWrongState(contributionId, entry.state)
        );
        require(
            msg.sender == current || msg.sender == entry.relayer, DatanetRegistryNotContributor(msg.sender, current)
        );
        bytes32 computed = commitmentOf(entry.datanetId, contributor, recordsRoot, entry.recordCount, salt);
        require(computed == entry.commitment, DatanetRegistryCommitmentMismatch(entry.commitment, computed));
        if (entry.state == ContributionState.Committed) {
            require(
                block.timestamp <= entry.revealBy, DatanetRegistryRevealLate(contributionId, entry.revealBy)
            );
            revealedAt[contributionId] = uint64(block.timestamp);
            _credit(entry.relayer, _takeDeposit(entry));
        }
        entry.state = ContributionState.Revealed;
        entry.recordsRoot = recordsRoot;
        entry.salt = salt;
        entry.manifest = manifest;
        emit ContributionRevealed(contributionId, entry.datanetId, contributor, recordsRoot, manifest);
    }

    /// @notice Ends a contribution that was not revealed in time, and with it its priority; anybody may send it. The deposit
    /// is burned: whoever else got it would gain by keeping a reveal out of the blocks.
    function lapse(uint256 contributionId) external {
        Contribution storage entry = _entry(contributionId);
        require(
            entry.state == ContributionState.Committed, DatanetRegistryWrongState(contributionId, entry.state)
        );
        require(block.timestamp > entry.revealBy, DatanetRegistryRevealOpen(contributionId, entry.revealBy));
        entry.state = ContributionState.Lapsed;
        uint256 amountWei = _takeDeposit(entry);
        burnedWei += amountWei;
        emit ContributionLapsed(contributionId, entry.datanetId, entry.contributor, amountWei);
    }

    /// @notice The curator takes a revealed contribution into the datanet.
    function accept(uint256 contributionId) external onlyCurator(_entry(contributionId).datanetId) {
        Contribution storage entry = _decidable(contributionId);
        entry.state = ContributionState.Accepted;
        emit ContributionAccepted(contributionId, entry.datanetId, entry.contributor);
    }

    /// @notice The curator refuses a revealed contribution and names the digest of its published evidence.
    function refuse(uint256 contributionId, bytes32 evidence, bytes32 earlierRecordHash)
        external
        onlyCurator(_entry(contributionId).datanetId)
    {
        Contribution storage entry = _decidable(contributionId);
        entry.state = ContributionState.Refused;
        entry.evidence = evidence;
        entry.earlierRecordHash = earlierRecordHash;
        emit ContributionRefused(contributionId, entry.datanetId, entry.contributor, evidence, earlierRecordHash);
    }

    /// @notice Takes an accepted contribution out of every later version: its contributor may, and its curator. Versions that
    /// hold it stay what they are, for what was trained on them; it cannot be taken back, only contributed anew.
    /// @param reason Digest of a published reason, or 0.
    function revoke(uint256 contributionId, bytes32 reason) external {
        Contribution storage entry = _entry(contributionId);
        address curator = _datanets[entry.datanetId].curator;
        address contributor = contributorOf(entry.contributor);
        require(
            msg.sender == contributor || msg.sender == curator,
            DatanetRegistryNotConcerned(msg.sender, contributor, curator)
        );
        require(
            entry.state == ContributionState.Accepted, DatanetRegistryWrongState(contributionId, entry.state)
        );
        require(entry.revokedAt == 0, DatanetRegistryAlreadyRevoked(contributionId));
        entry.revokedAt = uint64(block.timestamp);
        emit ContributionRevoked(contributionId, entry.datanetId, msg.sender, reason);
    }

    /// @notice The curator publishes the next version, the root over its record leaves, and locks stake for its clusters.
    function publishVersion(bytes32 datanetId, bytes32 root, uint32 recordCount, bytes32 manifest)
        external
        onlyCurator(datanetId)
        returns (uint32 version)
    {
        require(recordCount > 0, DatanetRegistryCountZero());
        version = ++_datanets[datanetId].versionCount;
        _versions[datanetId][version] = Version(root, manifest, recordCount, uint64(block.timestamp));
        emit VersionPublished(datanetId, version, root, recordCount, manifest);
        uint256 lockWei = parameters.bonds().versionLockWei;
        if (lockWei == 0) return version;
        heldUntil[datanetId][version] = uint64(block.timestamp + parameters.timing().challengeWindowSeconds);
        staking.lock(msg.sender, Locks.version(datanetId, version), lockWei);
    }

    /// @notice Returns what is left of a version's lock to its author's free stake, after the challenge window that held
    /// when it was published; anybody may send it.
    function releaseVersion(bytes32 datanetId, uint32 version) external {
        uint256 until = heldUntil[datanetId][version];
        require(
            until > 0 && block.timestamp >= until, DatanetRegistryVersionHeld(datanetId, version, until)
        );
        delete heldUntil[datanetId][version];
        uint256 amountWei = staking.unlock(Locks.version(datanetId, version));
        emit VersionReleased(datanetId, version, amountWei);
    }

    /// @notice Merges two clusters of a version that hold the same record, and slashes what its author still has locked for
    /// it. Both records were revealed before the version was published, so that its author had seen them. The evidence is
    /// committed with the Referee first; nobody was wronged in particular, so the requester's part is burned.
    function mergeClusters(SeparationEvidence calldata evidence) external returns (uint256 slashedWei) {
        _checkCommitted();
        bytes32 datanetId = evidence.datanetId;
        Version memory published = getVersion(datanetId, evidence.version);
        PlacedRecord calldata first = evidence.first;
        PlacedRecord calldata second = evidence.second;
        require(
            first.cluster != second.cluster,
            DatanetRegistryNotSeparated(evidence.recordHash, first.cluster, second.cluster)
        );
        bytes32 key = _pairKey(datanetId, evidence.version, first.cluster, second.cluster);
        require(!_merged[key], DatanetRegistryAlreadyMerged(first.cluster, second.cluster));
        _checkPlaced(published, datanetId, evidence.recordHash, first);
        _checkPlaced(published, datanetId, evidence.recordHash, second);
        _merged[key] = true;
        slashedWei = staking.slash(Locks.version(datanetId, evidence.version), msg.sender, address(0));
        emit ClustersMerged(
            datanetId,
            evidence.version,
            msg.sender,
            evidence.recordHash,
            first.cluster,
            second.cluster,
            slashedWei
        );
    }

    // ---------------------------------------------------------------- views

    /// @notice What the contract's balance is made of.
    function accountedWei() external view returns (uint256) {
        return depositsWei + burnedWei + creditsTotalWei;
    }

    function datanetCount() external view returns (uint256) {
        return _datanetIds.length;
    }

    function datanetIds(uint256 from, uint256 count) external view returns (bytes32[] memory page) {
        uint256 size = _pageSize(_datanetIds.length, from, count);
        page = new bytes32[](size);
        for (uint256 i = 0; i < size; i++) page[i] = _datanetIds[from + i];
    }

    function getDatanet(bytes32 datanetId) external view returns (Datanet memory) {
        return _existing(datanetId);
    }

    function contributionCount(bytes32 datanetId) external view returns (uint256) {
        return _contributionIds[datanetId].length;
    }

    function contributionIds(bytes32 datanetId, uint256 from, uint256 count)
        public
        view
        returns (uint256[] memory page)
    {
        uint256[] storage ids = _contributionIds[datanetId];
        uint256 size = _pageSize(ids.length, from, count);
        page = new uint256[](size);
        for (uint256 i = 0; i < size; i++) page[i] = ids[from + i];
    }

    function getContribution(uint256 contributionId) external view returns (Contribution memory) {
        return _entry(contributionId);
    }

    /// @notice At most `count` contributions of a datanet in the order of their commits, from position `from`.
    function getContributions(bytes32 datanetId, uint256 from, uint256 count)
        external
        view
        returns (uint256[] memory ids, Contribution[] memory page)
    {
        ids = contributionIds(datanetId, from, count);
        page = new Contribution[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) page[i] = _contributions[ids[i]];
    }

    function getVersion(bytes32 datanetId, uint32 version) public view returns (Version memory found) {
        found = _versions[datanetId][version];
        require(found.publishedAt > 0, DatanetRegistryUnknownVersion(datanetId, version));
    }

    /// @notice Whether two clusters of a version were shown to hold the same record, in either order.
    function areMerged(bytes32 datanetId, uint32 version, uint32 cluster, uint32 otherCluster)
        external
        view
        returns (bool)
    {
        return _merged[_pairKey(datanetId, version, cluster, otherCluster)];
    }

    /// @notice The commitment of docs/protocol.md section 2.
    function commitmentOf(
        bytes32 datanetId,
        address contributor,
        bytes32 recordsRoot,
        uint32 recordCount,
        bytes32 salt
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(CONTRIBUTION_TAG, datanetId, contributor, recordsRoot, recordCount, salt));
    }

    /// @notice The EIP-712 digest that the contributor signs.
    function contributionDigest(bytes32 datanetId, address contributor, bytes32 commitment, uint32 recordCount)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(abi.encode(CONTRIBUTION_TYPE, datanetId, contributor, commitment, recordCount))
        );
    }

    // ---------------------------------------------------------------- inside

    function _existing(bytes32 datanetId) private view returns (Datanet storage datanet) {
        datanet = _datanets[datanetId];
        require(datanet.curator != address(0), DatanetRegistryUnknownDatanet(datanetId));
    }

    function _entry(uint256 contributionId) private view returns (Contribution storage entry) {
        entry = _contributions[contributionId];
        require(
            entry.state != ContributionState.None, DatanetRegistryUnknownContribution(contributionId)
        );
    }

    function _decidable(uint256 contributionId) private view returns (Contribution storage entry) {
        entry = _contributions[contributionId];
        require(
            entry.state == ContributionState.Revealed, DatanetRegistryWrongState(contributionId, entry.state)
        );
    }

    function _takeDeposit(Contribution storage entry) private returns (uint256 amountWei) {
        amountWei = entry.depositWei;
        entry.depositWei = 0;
        depositsWei -= amountWei;
    }

    function _checkCommitted() private view {
        (bytes32 commitment, uint256 fromBlock) = CommittedEvidence.ofCall(referee, parameters);
        require(fromBlock > 0, DatanetRegistryEvidenceNotCommitted(commitment));
        require(block.number >= fromBlock, DatanetRegistryEvidenceTooEarly(commitment, fromBlock));
    }

    /// @dev The record stands in the version, and in a contribution to its datanet that was shown in an earlier block.
    function _checkPlaced(
        Version memory published,
        bytes32 datanetId,
        bytes32 recordHash,
        PlacedRecord calldata placed
    ) private view {
        Contribution storage entry = _entry(placed.contributionId);
        uint256 shownAt = revealedAt[placed.contributionId];
        require(
            entry.datanetId == datanetId && shownAt > 0 && shownAt < published.publishedAt,
            DatanetRegistryNotRevealedBefore(placed.contributionId, published.publishedAt)
        );
        _checkProof(
            entry.recordsRoot, abi.encode(recordHash), placed.position, entry.recordCount, placed.recordProof
        );
        _checkProof(
            published.root,
            abi.encode(recordHash, placed.contributor, placed.cluster, placed.registeredAt),
            placed.index,
            published.recordCount,
            placed.proof
        );
    }

    function _checkProof(bytes32 root, bytes memory leaf, uint256 index, uint256 count, bytes32[] calldata proof)
        private
        pure
    {
        require(
            MerkleTree.verify(root, MerkleTree.leaf(leaf), index, count, proof),
            DatanetRegistryProofInvalid(root, index)
        );
    }

    function _pairKey(bytes32 datanetId, uint32 version, uint32 cluster, uint32 otherCluster)
        private
        pure
        returns (bytes32)
    {
        (uint32 low, uint32 high) =
            cluster < otherCluster ? (cluster, otherCluster) : (otherCluster, cluster);
        return keccak256(abi.encode(datanetId, version, low, high));
    }

    function _pageSize(uint256 length, uint256 from, uint256 count) private pure returns (uint256) {
        if (from >= length) return 0;
        return count < length - from ? count : length - from;
    }
}
