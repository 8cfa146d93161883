// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
import {Posting, toPosting} from "../src/types/Posting.sol";
import {Progress} from "../src/types/Progress.sol";
import {vm} from "./world/Vm.sol";

/// @notice The two words that are packed by hand: no field ever touches another.
contract TypesTest {
    struct Fields {
        uint96 cumulative;
        uint24 posted;
        uint24 counted;
        uint24 arriving;
        uint8 status;
        bytes10 last;
    }

    function _wrap(Fields memory f) internal pure returns (Progress) {
        f.status = f.status % 5;
        return Progress.wrap(
            uint256(bytes32(f.last)) | uint256(f.status) << 168 | uint256(f.arriving) << 144 | uint256(f.counted) << 120
                | uint256(f.posted) << 96 | f.cumulative
        );
    }

    function _assert(Progress p, Fields memory f) internal pure {
        vm.assertEq(p.cumulative(), f.cumulative);
        vm.assertEq(p.posted(), f.posted);
        vm.assertEq(p.counted(), f.counted);
        vm.assertEq(p.arriving(), f.arriving);
        vm.assertEq(uint256(p.status()), f.status);
        vm.assertEq(bytes32(p.last()), bytes32(f.last));
    }

    function addClient(Progress p) external pure returns (Progress) {
        return p.withClient();
    }

    function testFuzz_progress_readsWhatWasWritten(Fields memory f) public pure {
        _assert(_wrap(f), f);
    }

    function testFuzz_withRound_addsOnlyWhatARoundAdds(Fields memory f, uint96 pay, bytes32 digest) public pure {
        vm.assume(f.posted < type(uint24).max && uint256(f.counted) + f.arriving <= type(uint24).max);
        pay = uint96(uint256(pay) % (uint256(type(uint96).max) - f.cumulative + 1));
        Progress p = _wrap(f).withRound(pay, digest);
        f.cumulative += pay;
        f.posted++;
        f.counted += f.arriving;
        f.arriving = 0;
        f.last = bytes10(digest);
        _assert(p, f);
    }

    function testFuzz_withVoid_goesBackToTheRoundBefore(Fields memory f, uint24 round, uint96 total) public pure {
        vm.assume(round > 0);
        Progress p = _wrap(f).withVoid(round, total);
        f.posted = round - 1;
        f.cumulative = total;
        _assert(p, f);
    }

    function testFuzz_withStatus_changesTheStatusOnly(Fields memory f, uint8 status) public pure {
        status = status % 5;
        Progress p = _wrap(f).withStatus(ITask.Status(status));
        f.status = status;
        _assert(p, f);
    }

    function testFuzz_withClient_countsOneMore(Fields memory f) public view {
        vm.assume(uint256(f.counted) + f.arriving < type(uint24).max);
        Progress p = this.addClient(_wrap(f));
        if (f.status == uint8(ITask.Status.Open)) f.counted++;
        else f.arriving++;
        _assert(p, f);
    }

    function test_withClient_revertsIfTheTaskIsFull() public {
        Fields memory f;
        (f.counted, f.arriving) = (type(uint24).max - 7, 7);
        Progress p = _wrap(f);
        vm.expectRevert(abi.encodeWithSelector(ITask.TooManyClients.selector, 2 ** 24 - 1, 2 ** 24 - 1));
        this.addClient(p);
    }

    function testFuzz_posting_readsWhatWasWritten(bytes32 digest, uint40 time) public pure {
        Posting posting = toPosting(digest, time);
        vm.assertEq(bytes32(posting.digest()), bytes32(bytes27(digest)));
        vm.assertEq(posting.postedAt(), time);
    }
}
