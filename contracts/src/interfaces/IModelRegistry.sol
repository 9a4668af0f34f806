// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Base models and adapters with their lineage
interface IModelRegistry {
    struct Base {
        bytes32 baseHash;
        address owner;
        uint64 registeredAt;
        string name;
    }

    /// @param owner Who paid for the training, and is paid the model owner's share.
    struct Adapter {
        bytes32 adapterId;
        bytes32 baseHash;
        bytes32 datanetId;
        uint32 version;
        uint32 sketchCount;
        uint64 registeredAt;
        address owner;
        address provider;
        uint256 taskId;
        bytes32 adapterHash;
        bytes32 sketchRoot;
        bytes32 traceRoot;
        bytes32 manifest;
        string name;
    }

    event BaseRegistered(bytes32 indexed baseHash, address indexed owner, string name);
    event AdapterRegistered(
        bytes32 indexed adapterId,
        bytes32 indexed baseHash,
        bytes32 indexed datanetId,
        uint256 taskId,
        address owner,
        bytes32 adapterHash,
        bytes32 sketchRoot,
        string name
    );

    error ModelRegistryBaseKnown(bytes32 baseHash);
    error ModelRegistryBaseUnknown(bytes32 baseHash);
    error ModelRegistryAdapterKnown(bytes32 adapterId);
    error ModelRegistryAdapterUnknown(bytes32 adapterId);
    error ModelRegistryNoAdapterAt(uint256 index);
    error ModelRegistryUnauthorised(address caller);

    function registerBase(bytes32 baseHash, string calldata name, address owner) external;
    function registerAdapter(Adapter calldata adapter) external returns (bytes32 adapterId);
    function isBase(bytes32 baseHash) external view returns (bool);
    function getBase(bytes32 baseHash) external view returns (Base memory);
    function baseCount() external view returns (uint256);
    function getBases(uint256 from, uint256 count) external view returns (Base[] memory);
    function getAdapter(bytes32 adapterId) external view returns (Adapter memory);
    function ownerOf(bytes32 adapterId) external view returns (address owner, uint64 since);
    function sketchesOf(bytes32 adapterId) external view returns (bytes32 sketchRoot, uint32 sketchCount);
    function sketchesAt(uint32 index)
        external
        view
        returns (bytes32 adapterId, bytes32 sketchRoot, uint32 sketchCount);
    function adapterCount() external view returns (uint256);
    function getAdapters(uint256 from, uint256 count) external view returns (Adapter[] memory);
    function adapterIdOf(uint256 taskId, bytes32 adapterHash) external pure returns (bytes32);
}
