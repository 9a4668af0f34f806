// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @title Base models and adapters with their lineage
/// @notice Anybody may register a base: its hash is its identity and its owner earns nothing from it. Adapters come only
/// from the task escrow, after their committee found the training right.
contract ModelRegistry is IModelRegistry {
    bytes32 private constant ADAPTER_TAG = keccak256("openledger/adapter/1");

    address public immutable taskEscrow;

    bytes32[] private _baseHashes;
    bytes32[] private _adapterIds;
    mapping(bytes32 baseHash => Base) private _bases;
    mapping(bytes32 adapterId => Adapter) private _adapters;

    constructor(address taskEscrow_) {
        taskEscrow = taskEscrow_;
    }

    /// @notice Registers a base model by the digest of its manifest; the first registration stands.
    function registerBase(bytes32 baseHash, string calldata name, address owner) external {
        require(!isBase(baseHash), ModelRegistryBaseKnown(baseHash));
        _baseHashes.push(baseHash);
        _bases[baseHash] = Base(baseHash, owner, uint64(block.timestamp), name);
        emit BaseRegistered(baseHash, owner, name);
    }

    /// @notice Registers an adapter; its id and time are set here.
    function registerAdapter(Adapter calldata adapter) external returns (bytes32 adapterId) {
        require(msg.sender == taskEscrow, ModelRegistryUnauthorised(msg.sender));
        adapterId = adapterIdOf(adapter.taskId, adapter.adapterHash);
        require(_adapters[adapterId].registeredAt == 0, ModelRegistryAdapterKnown(adapterId));
        _adapterIds.push(adapterId);
        Adapter storage stored = _adapters[adapterId];
        _adapters[adapterId] = adapter;
        stored.adapterId = adapterId;
        stored.registeredAt = uint64(block.timestamp);
        emit AdapterRegistered(
            adapterId,
            adapter.baseHash,
            adapter.datanetId,
            adapter.taskId,
            adapter.owner,
            adapter.adapterHash,
            adapter.sketchRoot,
            adapter.name
        );
    }

    function isBase(bytes32 baseHash) public view returns (bool) {
        return _bases[baseHash].registeredAt > 0;
    }

    function getBase(bytes32 baseHash) external view returns (Base memory) {
        require(isBase(baseHash), ModelRegistryBaseUnknown(baseHash));
        return _bases[baseHash];
    }

    function baseCount() external view returns (uint256) {
        return _baseHashes.length;
    }

    function getBases(uint256 from, uint256 count) external view returns (Base[] memory page) {
        uint256 size = _pageSize(_baseHashes.length, from, count);
        page = new Base[](size);
        for (uint256 i = 0; i < size; i++) page[i] = _bases[_baseHashes[from + i]];
    }

    function getAdapter(bytes32 adapterId) external view returns (Adapter memory) {
        return _existing(adapterId);
    }

    /// @notice Whom an adapter's part of fees goes to, and the second from which; zeros for one that is not registered.
    function ownerOf(bytes32 adapterId) external view returns (address owner, uint64 since) {
        Adapter storage adapter = _adapters[adapterId];
        return (adapter.owner, adapter.registeredAt);
    }

    /// @notice What the referee needs of an adapter.
    function sketchesOf(bytes32 adapterId) external view returns (bytes32 sketchRoot, uint32 sketchCount) {
        Adapter storage adapter = _existing(adapterId);
        return (adapter.sketchRoot, adapter.sketchCount);
    }

    /// @notice The same by the adapter's place in the order of registration, from 0, which is shorter than its id.
    function sketchesAt(uint32 index)
        external
        view
        returns (bytes32 adapterId, bytes32 sketchRoot, uint32 sketchCount)
    {
        // A place beyond the list holds 0: the list only grows, so that its length need not be read.
        bytes32[] storage ids = _adapterIds;
        assembly ("memory-safe") {
            mstore(0x00, ids.slot)
            adapterId := sload(add(keccak256(0x00, 0x20), index))
        }
        require(adapterId != 0, ModelRegistryNoAdapterAt(index));
        Adapter storage adapter = _adapters[adapterId];
        return (adapterId, adapter.sketchRoot, adapter.sketchCount);
    }

    function adapterCount() external view returns (uint256) {
        return _adapterIds.length;
    }

    /// @notice At most `count` adapters in the order of registration, from position `from`.
    function getAdapters(uint256 from, uint256 count) external view returns (Adapter[] memory page) {
        uint256 size = _pageSize(_adapterIds.length, from, count);
        page = new Adapter[](size);
        for (uint256 i = 0; i < size; i++) page[i] = _adapters[_adapterIds[from + i]];
    }

    function adapterIdOf(uint256 taskId, bytes32 adapterHash) public pure returns (bytes32) {
        return keccak256(abi.encode(ADAPTER_TAG, taskId, adapterHash));
    }

    function _existing(bytes32 adapterId) private view returns (Adapter storage adapter) {
        adapter = _adapters[adapterId];
        require(adapter.registeredAt > 0, ModelRegistryAdapterUnknown(adapterId));
    }

    function _pageSize(uint256 length, uint256 from, uint256 count) private pure returns (uint256) {
        if (from >= length) return 0;
        return count < length - from ? count : length - from;
    }
}
