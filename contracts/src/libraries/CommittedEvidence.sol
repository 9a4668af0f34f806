// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../interfaces/IParameters.sol";
import {IReferee} from "../interfaces/IReferee.sol";

/// @title Evidence that was committed with the Referee, for the contracts beside it that judge
library CommittedEvidence {
    /// @notice The commitment to a judging call's arguments, which are everything after the function's selector, and the
    /// block from which they may be shown; 0 if nobody committed to them.
    function ofCall(IReferee referee, IParameters parameters)
        internal
        view
        returns (bytes32 commitment, uint256 fromBlock)
    {
        commitment = referee.evidenceCommitmentOf(msg.sender, keccak256(msg.data[4:]));
        uint256 committedIn = referee.evidenceBlock(commitment);
        if (committedIn > 0) fromBlock = committedIn + parameters.evidenceDelayBlocks();
    }
}
