// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Datanets, contributions, versions, bases and adapters, function by function
contract RegistriesTest is World {
    uint256 private constant CONTRIBUTOR_KEY = 51;
    address private constant CURATOR = address(0xc0);
    address private constant RELAYER = address(0xe1);
    bytes32 private constant ROOT = keccak256("records");
    bytes32 private constant SALT = keccak256("salt");

    function setUp() external {
        deployAll();
        connect();
        publish(CURATOR);
    }

    function _contributor() private pure returns (address) {
        return vm.addr(CONTRIBUTOR_KEY);
    }

    function _commit(bytes32 root, uint32 count) private returns (uint256 contributionId) {
        bytes32 commitment = datanets.commitmentOf(datanetId, _contributor(), root, count, SALT);
        bytes memory signed = signature(
            CONTRIBUTOR_KEY, datanets.contributionDigest(datanetId, _contributor(), commitment, count)
        );
        uint256 depositWei = depositOf();
        vm.deal(RELAYER, RELAYER.balance + depositWei);
        vm.prank(RELAYER);
        return datanets.commit{value: depositWei}(datanetId, _contributor(), commitment, count, signed);
    }

    function _revealed(bytes32 root) private returns (uint256 contributionId) {
        contributionId = _commit(root, 1);
        vm.prank(RELAYER);
        datanets.reveal(contributionId, root, SALT, "manifest");
    }

    function _state(uint256 contributionId) private view returns (IDatanetRegistry.ContributionState) {
        return datanets.getContribution(contributionId).state;
    }

    // ---------------------------------------------------------------- createDatanet

    function testFuzz_createDatanet_idsAreUniqueAndTheSenderIsCurator(address curator, bytes32 licence, bytes32 policy)
        external
    {
        // Nobody sends from there, and it marks a datanet that there is not.
        vm.assume(curator != address(0));
        vm.startPrank(curator);
        bytes32 first = datanets.createDatanet(licence, policy, "name");
        bytes32 second = datanets.createDatanet(licence, policy, "name");
        vm.stopPrank();
        check(first != second && first != datanetId, "ids");
        IDatanetRegistry.Datanet memory datanet = datanets.getDatanet(second);
        check(datanet.curator == curator && datanet.licence == licence && datanet.policyHash == policy, "terms");
        same(datanet.createdAt, vm.getBlockTimestamp(), "created");
        same(datanet.versionCount, 0, "versions");
        check(keccak256(bytes(datanet.name)) == keccak256("name"), "name");
        same(datanets.datanetCount(), 3, "count");
    }

    // ---------------------------------------------------------------- commit

    function testFuzz_commit_storesWhatWasSigned(bytes32 root, uint32 count, uint32 late) external {
        vm.warp(vm.getBlockTimestamp() + late);
        uint32 records = uint32(bound(count, 1, type(uint32).max));
        uint256 contributionId = _commit(root, records);
        IDatanetRegistry.Contribution memory entry = datanets.getContribution(contributionId);
        check(entry.datanetId == datanetId && entry.contributor == _contributor(), "whose");
        check(entry.relayer == RELAYER && entry.recordCount == records, "relayer and count");
        check(entry.commitment == datanets.commitmentOf(datanetId, _contributor(), root, records, SALT), "commitment");
        same(entry.committedAt, vm.getBlockTimestamp(), "time");
        same(entry.revokedAt, 0, "not revoked");
        same(entry.depositWei, depositOf(), "deposit");
        same(entry.revealBy, vm.getBlockTimestamp() + parameters.timing().contributionRevealSeconds, "reveal by");
        same(datanets.contributionIdOf(_contributor(), entry.commitment), contributionId, "found");
        check(entry.state == IDatanetRegistry.ContributionState.Committed, "state");
        same(datanets.contributionTotal(), contributionId, "total");
        same(datanets.contributionCount(datanetId), 1, "of the datanet");
    }

    function testFuzz_commit_bindsEveryField(bytes32 root, address other) external view {
        bytes32 commitment = datanets.commitmentOf(datanetId, _contributor(), root, 1, SALT);
        check(commitment != datanets.commitmentOf(~datanetId, _contributor(), root, 1, SALT), "datanet");
        if (other != _contributor()) {
            check(commitment != datanets.commitmentOf(datanetId, other, root, 1, SALT), "contributor");
        }
        check(commitment != datanets.commitmentOf(datanetId, _contributor(), ~root, 1, SALT), "root");
        check(commitment != datanets.commitmentOf(datanetId, _contributor(), root, 2, SALT), "count");
        check(commitment != datanets.commitmentOf(datanetId, _contributor(), root, 1, ~SALT), "salt");
    }

    function test_commit_refusesNothingAndNowhere() external {
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownDatanet.selector);
        datanets.commit(keccak256("none"), _contributor(), ROOT, 1, "");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryCountZero.selector);
        datanets.commit(datanetId, _contributor(), ROOT, 0, "");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        datanets.commit(datanetId, _contributor(), ROOT, 1, "");
        // The zero address is who an invalid signature recovers to.
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        datanets.commit(datanetId, address(0), ROOT, 1, new bytes(65));
    }

    // ---------------------------------------------------------------- reveal

    function testFuzz_reveal_showsExactlyWhatWasCommitted(bytes32 root, bytes32 salt, address sender) external {
        uint256 contributionId = _commit(ROOT, 1);
        bool own = sender == _contributor() || sender == RELAYER;
        bytes4 refusal = IDatanetRegistry.DatanetRegistryCommitmentMismatch.selector;
        if (!own) refusal = IDatanetRegistry.DatanetRegistryNotContributor.selector;
        vm.prank(sender);
        if (!own || root != ROOT || salt != SALT) vm.expectPartialRevert(refusal);
        datanets.reveal(contributionId, root, salt, "manifest");
        vm.prank(RELAYER);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryCommitmentMismatch.selector);
        datanets.reveal(contributionId, ~ROOT, SALT, "manifest");
        vm.prank(RELAYER);
        datanets.reveal(contributionId, ROOT, SALT, "manifest");
        IDatanetRegistry.Contribution memory entry = datanets.getContribution(contributionId);
        check(entry.recordsRoot == ROOT && entry.salt == SALT && entry.manifest == "manifest", "shown");
    }

    function test_reveal_onlyTheContributorCorrectsTheManifestAndOnlyBeforeTheDecision() external {
        uint256 contributionId = _revealed(ROOT);
        vm.prank(RELAYER);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.reveal(contributionId, ROOT, SALT, "another manifest");
        vm.prank(_contributor());
        datanets.reveal(contributionId, ROOT, SALT, "another manifest");
        check(datanets.getContribution(contributionId).manifest == "another manifest", "corrected");
        vm.prank(CURATOR);
        datanets.accept(contributionId);
        vm.prank(_contributor());
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.reveal(contributionId, ROOT, SALT, "late");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownContribution.selector);
        datanets.reveal(99, ROOT, SALT, "none");
    }

    /// @dev Whoever copies a commitment on its way can neither enter nor show it as its own.
    function testFuzz_attack_frontRunningAContribution(uint128 key) external {
        uint256 thief = bound(key, 1, type(uint128).max);
        vm.assume(thief != CONTRIBUTOR_KEY);
        bytes32 commitment = datanets.commitmentOf(datanetId, _contributor(), ROOT, 1, SALT);
        bytes memory stolen =
            signature(thief, datanets.contributionDigest(datanetId, vm.addr(thief), commitment, 1));
        uint256 depositWei = depositOf();
        vm.deal(vm.addr(thief), depositWei);
        vm.prank(vm.addr(thief));
        uint256 copied = datanets.commit{value: depositWei}(datanetId, vm.addr(thief), commitment, 1, stolen);
        // The first commit of these bytes does not keep their author out.
        uint256 own = _commit(ROOT, 1);
        vm.prank(RELAYER);
        datanets.reveal(own, ROOT, SALT, "manifest");
        vm.prank(vm.addr(thief));
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryCommitmentMismatch.selector);
        datanets.reveal(copied, ROOT, SALT, "manifest");
    }

    // ---------------------------------------------------------------- accept, refuse, revoke

    function testFuzz_accept_isTheCuratorsAndOnce(address stranger) external {
        vm.assume(stranger != CURATOR);
        uint256 hidden = _commit(ROOT, 1);
        vm.prank(CURATOR);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.accept(hidden);
        uint256 contributionId = _revealed(keccak256("other records"));
        vm.prank(stranger);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryNotCurator.selector);
        datanets.accept(contributionId);
        vm.prank(CURATOR);
        datanets.accept(contributionId);
        check(_state(contributionId) == IDatanetRegistry.ContributionState.Accepted, "accepted");
        vm.prank(CURATOR);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.accept(contributionId);
        vm.prank(CURATOR);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownContribution.selector);
        datanets.accept(99);
    }

    function testFuzz_refuse_namesItsEvidence(bytes32 evidence, bytes32 earlier, address stranger) external {
        vm.assume(stranger != CURATOR);
        uint256 contributionId = _revealed(ROOT);
        vm.prank(stranger);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryNotCurator.selector);
        datanets.refuse(contributionId, evidence, earlier);
        vm.prank(CURATOR);
        datanets.refuse(contributionId, evidence, earlier);
        IDatanetRegistry.Contribution memory entry = datanets.getContribution(contributionId);
        check(entry.state == IDatanetRegistry.ContributionState.Refused, "refused");
        check(entry.evidence == evidence && entry.earlierRecordHash == earlier, "evidence");
        vm.prank(CURATOR);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.accept(contributionId);
    }

    function testFuzz_revoke_isTheContributorsOrTheCurators(address stranger, bool byCurator, uint32 later) external {
        vm.assume(stranger != CURATOR && stranger != _contributor());
        uint256 contributionId = _revealed(ROOT);
        address revoker = byCurator ? CURATOR : _contributor();
        vm.prank(revoker);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.revoke(contributionId, 0);
        vm.prank(CURATOR);
        datanets.accept(contributionId);
        vm.prank(stranger);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryNotConcerned.selector);
        datanets.revoke(contributionId, 0);
        vm.warp(vm.getBlockTimestamp() + later);
        vm.prank(revoker);
        datanets.revoke(contributionId, keccak256("reason"));
        same(datanets.getContribution(contributionId).revokedAt, vm.getBlockTimestamp(), "revoked");
        vm.prank(revoker);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryAlreadyRevoked.selector);
        datanets.revoke(contributionId, 0);
        same(datanets.getVersion(datanetId, 1).recordCount, 1, "what was published stays");
    }

    // ---------------------------------------------------------------- publishVersion, views

    function testFuzz_publishVersion_countsFromOne(bytes32 root, uint32 count, address stranger) external {
        vm.assume(stranger != CURATOR);
        uint32 records = uint32(bound(count, 1, type(uint32).max));
        vm.prank(stranger);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryNotCurator.selector);
        datanets.publishVersion(datanetId, root, records, "manifest");
        vm.startPrank(CURATOR);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryCountZero.selector);
        datanets.publishVersion(datanetId, root, 0, "manifest");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownDatanet.selector);
        datanets.publishVersion(keccak256("none"), root, records, "manifest");
        same(datanets.publishVersion(datanetId, root, records, "manifest"), 2, "version");
        vm.stopPrank();
        IDatanetRegistry.Version memory version = datanets.getVersion(datanetId, 2);
        check(version.root == root && version.recordCount == records && version.manifest == "manifest", "stored");
        same(version.publishedAt, vm.getBlockTimestamp(), "time");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownVersion.selector);
        datanets.getVersion(datanetId, 3);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownVersion.selector);
        datanets.getVersion(datanetId, 0);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownDatanet.selector);
        datanets.getDatanet(keccak256("none"));
    }

    function testFuzz_views_pageThroughContributionsAndDatanets(uint8 from, uint8 count) external {
        for (uint256 i = 0; i < 4; i++) _commit(keccak256(abi.encode(i)), 1);
        uint256 expected = from >= 4 ? 0 : count < 4 - from ? count : 4 - from;
        (uint256[] memory ids, IDatanetRegistry.Contribution[] memory page) =
            datanets.getContributions(datanetId, from, count);
        same(ids.length, expected, "ids");
        same(page.length, expected, "contributions");
        for (uint256 i = 0; i < expected; i++) {
            same(ids[i], from + i + 1, "order");
            check(
                page[i].commitment == datanets.getContribution(ids[i]).commitment && page[i].commitment != 0, "entry"
            );
        }
        for (uint256 i = 0; i < 3; i++) datanets.createDatanet(0, 0, "");
        bytes32[] memory list = datanets.datanetIds(from, count);
        same(list.length, expected, "datanets");
        for (uint256 i = 0; i < list.length; i++) check(datanets.getDatanet(list[i]).createdAt > 0, "datanet");
        if (from == 0 && count > 0) check(list[0] == datanetId, "first");
    }

    // ---------------------------------------------------------------- ModelRegistry

    function testFuzz_registerBase_theFirstStands(bytes32 hash, address owner, address late) external {
        vm.assume(hash != BASE_HASH);
        vm.expectPartialRevert(IModelRegistry.ModelRegistryBaseUnknown.selector);
        models.getBase(hash);
        check(!models.isBase(hash), "unknown");
        models.registerBase(hash, "name", owner);
        vm.expectPartialRevert(IModelRegistry.ModelRegistryBaseKnown.selector);
        models.registerBase(hash, "late", late);
        IModelRegistry.Base memory base = models.getBase(hash);
        check(base.baseHash == hash && base.owner == owner && models.isBase(hash), "base");
        same(base.registeredAt, vm.getBlockTimestamp(), "time");
        same(models.baseCount(), 2, "count");
    }

    function testFuzz_registerAdapter_isTheEscrowsAndOnce(address stranger, bytes32 hash, uint64 taskId) external {
        vm.assume(stranger != address(tasks));
        IModelRegistry.Adapter memory adapter = models.getAdapter(adapterId);
        adapter.adapterHash = hash;
        adapter.taskId = taskId;
        vm.assume(models.adapterIdOf(taskId, hash) != adapterId);
        vm.prank(stranger);
        vm.expectPartialRevert(IModelRegistry.ModelRegistryUnauthorised.selector);
        models.registerAdapter(adapter);
        vm.startPrank(address(tasks));
        bytes32 given = models.registerAdapter(adapter);
        vm.expectPartialRevert(IModelRegistry.ModelRegistryAdapterKnown.selector);
        models.registerAdapter(adapter);
        vm.stopPrank();
        check(given == models.adapterIdOf(taskId, hash), "id");
        adapter.adapterId = given;
        adapter.registeredAt = uint64(vm.getBlockTimestamp());
        check(keccak256(abi.encode(models.getAdapter(given))) == keccak256(abi.encode(adapter)), "stored");
        (bytes32 root, uint32 count) = models.sketchesOf(given);
        check(root == adapter.sketchRoot && count == adapter.sketchCount, "sketches");
        same(models.adapterCount(), 2, "count");
        vm.expectPartialRevert(IModelRegistry.ModelRegistryAdapterUnknown.selector);
        models.getAdapter(~given);
        vm.expectPartialRevert(IModelRegistry.ModelRegistryAdapterUnknown.selector);
        models.sketchesOf(~given);
    }

    function testFuzz_views_pageThroughBasesAndAdapters(uint8 from, uint8 count) external {
        IModelRegistry.Adapter memory adapter = models.getAdapter(adapterId);
        for (uint256 i = 1; i < 4; i++) {
            models.registerBase(keccak256(abi.encode(i)), "name", address(this));
            adapter.taskId = i;
            vm.prank(address(tasks));
            models.registerAdapter(adapter);
        }
        uint256 expected = from >= 4 ? 0 : count < 4 - from ? count : 4 - from;
        IModelRegistry.Base[] memory bases = models.getBases(from, count);
        IModelRegistry.Adapter[] memory adapters = models.getAdapters(from, count);
        same(bases.length, expected, "bases");
        same(adapters.length, expected, "adapters");
        for (uint256 i = 0; i < expected; i++) {
            uint256 place = from + i;
            check(bases[i].baseHash == (place == 0 ? BASE_HASH : keccak256(abi.encode(place))), "base");
            same(adapters[i].taskId, place, "adapter");
        }
    }
}
