// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {Locks} from "../src/libraries/Locks.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title The stake behind a version's clusters, and the verdict over a record that stands in two of them
contract VersionsTest is World {
    uint256 private constant FIRST_KEY = 61;
    uint256 private constant SECOND_KEY = 62;
    address private constant CURATOR = address(0xc0);
    address private constant WATCHER = address(0x93);
    bytes32 private constant RECORD = keccak256("a record");
    bytes32 private constant OTHER = keccak256("another record");
    bytes32 private constant SALT = keccak256("salt");
    uint128 private constant LOCK = 20 ether;

    function setUp() external {
        deployAll();
        connect();
        publish(CURATOR);
        _lockIs(LOCK);
        stakeOf(CURATOR, 50 ether, 0);
    }

    // ---------------------------------------------------------------- steps

    function _lockIs(uint128 lockWei) private {
        IParameters.Values memory values = parameters.all();
        values.bonds.versionLockWei = lockWei;
        vm.prank(parameters.owner());
        parameters.change(values);
    }

    /// @dev A contribution of one record, shown now.
    function _contribute(uint256 key, bytes32 recordHash) private returns (uint256 contributionId) {
        contributionId = _commit(key, recordHash);
        vm.prank(vm.addr(key));
        datanets.reveal(contributionId, rootOfOne(abi.encode(recordHash)), SALT, "manifest");
    }

    function _commit(uint256 key, bytes32 recordHash) private returns (uint256) {
        bytes32 root = rootOfOne(abi.encode(recordHash));
        bytes32 commitment = datanets.commitmentOf(datanetId, vm.addr(key), root, 1, SALT);
        bytes32 digest = datanets.contributionDigest(datanetId, vm.addr(key), commitment, 1);
        return datanets.commit{value: depositOf()}(
            datanetId, vm.addr(key), commitment, 1, signature(key, digest)
        );
    }

    /// @dev Evidence over a version of two leaves, one per contribution of the same record.
    function _evidence(uint256 one, uint256 two, uint32 cluster, uint32 otherCluster)
        private
        view
        returns (IDatanetRegistry.SeparationEvidence memory evidence, bytes32 root)
    {
        evidence.datanetId = datanetId;
        evidence.version = datanets.getDatanet(datanetId).versionCount + 1;
        evidence.recordHash = RECORD;
        evidence.first.contributor = vm.addr(FIRST_KEY);
        evidence.first.cluster = cluster;
        evidence.first.contributionId = one;
        evidence.second.contributor = vm.addr(SECOND_KEY);
        evidence.second.cluster = otherCluster;
        evidence.second.index = 1;
        evidence.second.contributionId = two;
        bytes32[] memory hashes = new bytes32[](2);
        hashes[0] = MerkleTree.leaf(abi.encode(RECORD, vm.addr(FIRST_KEY), cluster, uint64(0)));
        hashes[1] = MerkleTree.leaf(abi.encode(RECORD, vm.addr(SECOND_KEY), otherCluster, uint64(0)));
        evidence.first.proof = new bytes32[](1);
        evidence.first.proof[0] = hashes[1];
        evidence.second.proof = new bytes32[](1);
        evidence.second.proof[0] = hashes[0];
        root = MerkleTree.rootOf(hashes);
    }

    function _publish(bytes32 root) private returns (uint32) {
        vm.prank(CURATOR);
        return datanets.publishVersion(datanetId, root, 2, "manifest");
    }

    /// @dev Two contributors show the same record, and a second later the curator publishes them apart.
    function _separated() private returns (IDatanetRegistry.SeparationEvidence memory evidence) {
        uint256 one = _contribute(FIRST_KEY, RECORD);
        uint256 two = _contribute(SECOND_KEY, RECORD);
        vm.warp(vm.getBlockTimestamp() + 1);
        bytes32 root;
        (evidence, root) = _evidence(one, two, 0, 1);
        _publish(root);
    }

    function _merge(IDatanetRegistry.SeparationEvidence memory evidence, bytes4 refusal)
        private
        returns (uint256 slashedWei)
    {
        commitTo(WATCHER, abi.encode(evidence));
        vm.prank(WATCHER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        return datanets.mergeClusters(evidence);
    }

    function _locked(uint32 version) private view returns (uint256) {
        return staking.getLock(Locks.version(datanetId, version)).amountWei;
    }

    function _unharmed(uint32 version) private view {
        same(_locked(version), LOCK, "the lock stands");
        same(staking.getAccount(CURATOR).stakeWei, 50 ether, "no stake was lost");
    }

    // ---------------------------------------------------------------- locks

    function test_publish_eachVersionHasALockOfItsOwn() external {
        uint256 first = _publish("first");
        uint256 second = _publish("second");
        same(staking.getAccount(CURATOR).lockedWei, 2 * LOCK, "both");
        for (uint256 number = first; number <= second; number++) {
            bytes32 lockId = keccak256(abi.encode(keccak256("openledger/version/1"), datanetId, number));
            same(staking.getLock(lockId).amountWei, LOCK, "its own");
        }
    }

    // ---------------------------------------------------------------- publishVersion, releaseVersion

    function testFuzz_publishVersion_locksWhatIsGoverned(uint128 lockWei, uint128 later) external {
        lockWei = uint128(bound(lockWei, 0, LOCK));
        _lockIs(lockWei);
        uint32 version = _publish(keccak256("root"));
        _lockIs(uint128(bound(later, 0, LOCK)));
        same(_locked(version), lockWei, "locked as it was published");
        same(staking.freeOf(CURATOR), 50 ether - lockWei, "free");
        uint256 until = vm.getBlockTimestamp() + parameters.timing().challengeWindowSeconds;
        same(datanets.heldUntil(datanetId, version), lockWei == 0 ? 0 : until, "held");
        vm.warp(until);
        if (lockWei == 0) vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryVersionHeld.selector);
        datanets.releaseVersion(datanetId, version);
        same(staking.freeOf(CURATOR), 50 ether, "back");
    }

    function test_publishVersion_needsFreeStakeForEachVersion() external {
        _publish("one");
        _publish("two");
        vm.prank(CURATOR);
        vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        datanets.publishVersion(datanetId, "three", 1, "manifest");
        same(datanets.getDatanet(datanetId).versionCount, 3, "nothing was published");
    }

    function testFuzz_releaseVersion_onlyAfterTheWindowAndOnce(uint32 early, address anybody) external {
        uint32 version = _publish("root");
        uint256 until = datanets.heldUntil(datanetId, version);
        vm.warp(bound(early, vm.getBlockTimestamp(), until - 1));
        vm.prank(anybody);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryVersionHeld.selector);
        datanets.releaseVersion(datanetId, version);
        vm.warp(until);
        vm.prank(anybody);
        datanets.releaseVersion(datanetId, version);
        _lockIs(0);
        same(staking.freeOf(CURATOR), 50 ether, "to its owner");
        same(_locked(version), 0, "nothing is left");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryVersionHeld.selector);
        datanets.releaseVersion(datanetId, version);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryVersionHeld.selector);
        datanets.releaseVersion(keccak256("none"), 1);
    }

    function testFuzz_attack_nobodyElseMovesAVersionsLock(address stranger) external {
        vm.assume(stranger != address(datanets) && stranger != address(tasks) && stranger != address(epochs));
        vm.assume(stranger != address(referee));
        uint32 version = _publish("root");
        bytes32 lockId = Locks.version(datanetId, version);
        vm.startPrank(stranger);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.lock(CURATOR, keccak256("lock"), 1);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.unlock(lockId);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.slash(lockId, stranger, stranger);
        vm.stopPrank();
        _unharmed(version);
    }

    // ---------------------------------------------------------------- mergeClusters

    /// @dev The same record in two clusters costs the lock; in one cluster it costs nothing.
    function testFuzz_mergeClusters_exactlyForTwoClusters(uint32 cluster, uint32 otherCluster) external {
        if (cluster % 4 == 0) otherCluster = cluster;
        uint256 one = _contribute(FIRST_KEY, RECORD);
        uint256 two = _contribute(SECOND_KEY, RECORD);
        vm.warp(vm.getBlockTimestamp() + 1);
        (IDatanetRegistry.SeparationEvidence memory evidence, bytes32 root) =
            _evidence(one, two, cluster, otherCluster);
        uint32 version = _publish(root);
        bool apart = cluster != otherCluster;
        uint256 slashedWei =
            _merge(evidence, apart ? bytes4(0) : IDatanetRegistry.DatanetRegistryNotSeparated.selector);
        same(slashedWei, apart ? LOCK : 0, "slashed");
        check(datanets.areMerged(datanetId, version, cluster, otherCluster) == apart, "merged");
        check(datanets.areMerged(datanetId, version, otherCluster, cluster) == apart, "in either order");
        if (!apart) return _unharmed(version);
        // 40 % to the challenger; nobody in particular was wronged, so the rest is burned.
        same(staking.credits(WATCHER), uint256(LOCK) * 4 / 10, "challenger");
        same(staking.burnedWei(), uint256(LOCK) * 6 / 10, "burned");
        same(staking.freeOf(CURATOR), 50 ether - LOCK, "no other stake");
        same(staking.accountedWei(), address(staking).balance, "conserved");
        vm.warp(datanets.heldUntil(datanetId, version));
        datanets.releaseVersion(datanetId, version);
        same(staking.freeOf(CURATOR), 50 ether - LOCK, "what was slashed does not come back");
    }

    function test_mergeClusters_aVersionIsSlashedOnceAndAPairMergedOnce() external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        same(_merge(evidence, 0), LOCK, "slashed");
        (evidence.first, evidence.second) = (evidence.second, evidence.first);
        _merge(evidence, IDatanetRegistry.DatanetRegistryAlreadyMerged.selector);
        same(staking.burnedWei() + staking.credits(WATCHER), LOCK, "once");
    }

    /// @dev After the window clusters still merge, but a lock that was given back is out of reach.
    function test_mergeClusters_afterTheReleaseCostsNothing() external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        vm.warp(datanets.heldUntil(datanetId, evidence.version));
        datanets.releaseVersion(datanetId, evidence.version);
        same(_merge(evidence, 0), 0, "slashed");
        same(staking.freeOf(CURATOR), 50 ether, "stake");
        check(datanets.areMerged(datanetId, evidence.version, 0, 1), "merged");
    }

    function test_mergeClusters_untilItIsReleasedTheLockAnswers() external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        vm.warp(datanets.heldUntil(datanetId, evidence.version) + 1 days);
        same(_merge(evidence, 0), LOCK, "slashed");
    }

    /// @dev Whoever had not seen both records when it published has separated nothing.
    function testFuzz_mergeClusters_bothWereRevealedBefore(uint8 road) external {
        uint256 one = _contribute(FIRST_KEY, RECORD);
        vm.warp(vm.getBlockTimestamp() + 1);
        bool hidden = road % 3 == 0;
        // Shown in the block of the version, or shown after it, or never.
        uint256 two = road % 3 == 1 ? _contribute(SECOND_KEY, RECORD) : _commit(SECOND_KEY, RECORD);
        (IDatanetRegistry.SeparationEvidence memory evidence, bytes32 root) = _evidence(one, two, 0, 1);
        uint32 version = _publish(root);
        vm.warp(vm.getBlockTimestamp() + 1);
        if (road % 3 == 2) {
            vm.prank(vm.addr(SECOND_KEY));
            datanets.reveal(two, rootOfOne(abi.encode(RECORD)), SALT, "manifest");
        }
        check((datanets.revealedAt(two) == 0) == hidden, "revealed");
        _merge(evidence, IDatanetRegistry.DatanetRegistryNotRevealedBefore.selector);
        _unharmed(version);
    }

    /// @dev A corrected manifest does not make a record younger than it is.
    function test_mergeClusters_theFirstRevealCounts() external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        uint256 shownAt = datanets.revealedAt(evidence.first.contributionId);
        vm.warp(vm.getBlockTimestamp() + 1);
        vm.prank(vm.addr(FIRST_KEY));
        datanets.reveal(evidence.first.contributionId, rootOfOne(abi.encode(RECORD)), SALT, "another manifest");
        same(datanets.revealedAt(evidence.first.contributionId), shownAt, "first");
        same(_merge(evidence, 0), LOCK, "slashed");
    }

    /// @dev One word of the evidence changed: none of it slashes anybody.
    function testFuzz_attack_noWordOfTheEvidenceMayDiffer(uint8 which, uint32 noise) external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        uint256 third = _contribute(63, OTHER);
        uint32 version = evidence.version;
        uint32 off = uint32(bound(noise, 1, type(uint32).max - 1));
        bytes4 refusal = IDatanetRegistry.DatanetRegistryProofInvalid.selector;
        uint256 word = which % 11;
        if (word == 0) evidence.recordHash = OTHER;
        if (word == 1) evidence.first.contributor = address(uint160(off));
        if (word == 2) evidence.second.registeredAt = off;
        if (word == 3) evidence.second.cluster = off + 1;
        if (word == 4) evidence.first.index = off;
        if (word == 5) evidence.first.position = off;
        if (word == 6) evidence.first.proof[0] = keccak256(abi.encode(off));
        if (word == 7) evidence.first.recordProof = new bytes32[](1);
        if (word == 8) {
            evidence.second.contributionId = third;
            refusal = IDatanetRegistry.DatanetRegistryNotRevealedBefore.selector;
        }
        if (word == 9) {
            evidence.second.contributionId = 99;
            refusal = IDatanetRegistry.DatanetRegistryUnknownContribution.selector;
        }
        if (word == 10) {
            evidence.version = version + off;
            refusal = IDatanetRegistry.DatanetRegistryUnknownVersion.selector;
        }
        _merge(evidence, refusal);
        _unharmed(version);
    }

    /// @dev A leaf of another record of an earlier contribution does not do.
    function test_attack_anotherContributionsRecord() external {
        uint256 one = _contribute(FIRST_KEY, RECORD);
        uint256 other = _contribute(SECOND_KEY, OTHER);
        vm.warp(vm.getBlockTimestamp() + 1);
        (IDatanetRegistry.SeparationEvidence memory evidence, bytes32 root) = _evidence(one, other, 0, 1);
        uint32 version = _publish(root);
        _merge(evidence, IDatanetRegistry.DatanetRegistryProofInvalid.selector);
        _unharmed(version);
    }

    /// @dev Contributions to one datanet convict nobody who published another.
    function test_attack_contributionsToAnotherDatanet() external {
        uint256 one = _contribute(FIRST_KEY, RECORD);
        uint256 two = _contribute(SECOND_KEY, RECORD);
        vm.warp(vm.getBlockTimestamp() + 1);
        vm.prank(CURATOR);
        datanetId = datanets.createDatanet("licence", "policy", "another");
        (IDatanetRegistry.SeparationEvidence memory evidence, bytes32 root) = _evidence(one, two, 0, 1);
        uint32 version = _publish(root);
        _merge(evidence, IDatanetRegistry.DatanetRegistryNotRevealedBefore.selector);
        _unharmed(version);
    }

    function test_attack_copiedEvidenceIsItsFindersAlone() external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        bytes memory encoded = abi.encode(evidence);
        vm.prank(WATCHER);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryEvidenceNotCommitted.selector);
        datanets.mergeClusters(evidence);
        bytes32 commitment = referee.evidenceCommitmentOf(WATCHER, keccak256(encoded));
        vm.prank(WATCHER);
        referee.commitEvidence(commitment);
        vm.prank(WATCHER);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryEvidenceTooEarly.selector);
        datanets.mergeClusters(evidence);
        vm.roll(vm.getBlockNumber() + parameters.evidenceDelayBlocks());
        // Whoever copies it on its way has committed to nothing.
        vm.prank(address(0xbad));
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryEvidenceNotCommitted.selector);
        datanets.mergeClusters(evidence);
        vm.prank(WATCHER);
        same(datanets.mergeClusters(evidence), LOCK, "slashed");
        same(staking.credits(address(0xbad)), 0, "copier");
    }

    /// @dev A curator that shows its own fault first still loses more than half.
    function test_attack_selfChallenge() external {
        IDatanetRegistry.SeparationEvidence memory evidence = _separated();
        commitTo(CURATOR, abi.encode(evidence));
        vm.prank(CURATOR);
        datanets.mergeClusters(evidence);
        same(staking.credits(CURATOR), uint256(LOCK) * 4 / 10, "back");
        same(staking.burnedWei(), uint256(LOCK) * 6 / 10, "burned");
    }
}
