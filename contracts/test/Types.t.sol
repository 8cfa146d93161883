// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ITask} from "../src/interfaces/ITask.sol";
import {Posting, toPosting} from "../src/types/Posting.sol";
import {Cover} from "../src/types/Cover.sol";
import {CHANGED, HELD, STOPPING, Progress} from "../src/types/Progress.sol";
import {MOST, Purse, toPurse} from "../src/types/Purse.sol";
import {vm} from "./world/Vm.sol";

/// @notice The words that are packed by hand: no field ever touches another.
contract TypesTest {
    struct Fields {
        uint96 cumulative;
        uint24 posted;
        uint24 counted;
        uint24 arriving;
        uint8 status;
        uint8 flags;
        bytes10 commitment;
    }

    function _wrap(Fields memory f) internal pure returns (Progress) {
        (f.status, f.flags) = (f.status % 5, f.flags % 8);
        return Progress.wrap(
            uint256(bytes32(f.commitment)) | uint256(f.flags) << 172 | uint256(f.status) << 168 | uint256(f.arriving) << 144 | uint256(f.counted) << 120
                | uint256(f.posted) << 96 | f.cumulative
        );
    }

    function _assert(Progress p, Fields memory f) internal pure {
        vm.assertEq(p.cumulative(), f.cumulative);
        vm.assertEq(p.posted(), f.posted);
        vm.assertEq(p.counted(), f.counted);
        vm.assertEq(p.arriving(), f.arriving);
        vm.assertEq(uint256(p.status()), f.status);
        vm.assertEq(p.has(CHANGED), f.flags & 1 != 0);
        vm.assertEq(p.has(HELD), f.flags & 2 != 0);
        vm.assertEq(p.has(STOPPING), f.flags & 4 != 0);
        vm.assertEq(bytes32(p.commitment()), bytes32(f.commitment));
    }

    function addClient(Progress p) external pure returns (Progress) {
        return p.withClient();
    }

    function testFuzz_progress_readsWhatWasWritten(Fields memory f) public pure {
        _assert(_wrap(f), f);
    }

    function testFuzz_withRound_changesOnlyWhatARoundDoes(Fields memory f, uint96 total) public pure {
        vm.assume(f.posted < type(uint24).max && uint256(f.counted) + f.arriving <= type(uint24).max);
        Progress p = _wrap(f).withRound(total);
        f.cumulative = total;
        f.posted++;
        f.counted += f.arriving;
        f.arriving = 0;
        f.flags &= 6;
        _assert(p, f);
    }

    function testFuzz_withCommitment_changesTheCommitmentOnly(Fields memory f, bytes32 hash) public pure {
        Progress p = _wrap(f).withCommitment(hash);
        f.commitment = bytes10(hash);
        _assert(p, f);
    }

    function testFuzz_flags_goUpAndDownAlone(Fields memory f) public pure {
        Progress p = _wrap(f);
        f.flags |= 2;
        _assert(p.withFlag(HELD), f);
        f.flags &= 5;
        _assert(p.withoutFlag(HELD), f);
    }

    function testFuzz_withVoid_goesBackToTheRoundBefore(Fields memory f, uint24 round) public pure {
        vm.assume(round > 0);
        Progress p = _wrap(f).withVoid(round);
        f.posted = round - 1;
        _assert(p, f);
    }

    function testFuzz_withTotal_changesTheTotalOnly(Fields memory f, uint96 total) public pure {
        Progress p = _wrap(f).withTotal(total);
        f.cumulative = total;
        _assert(p, f);
    }

    function testFuzz_withoutClient_countsOneLess(Fields memory f) public pure {
        vm.assume(f.counted > 0);
        Progress p = _wrap(f).withoutClient();
        f.counted--;
        _assert(p, f);
    }

    /// @dev Totals that were posted at these times, one after the other: what is known to be final is never more than is.
    function testFuzz_cover_neverTakesForFinalWhatIsNot(uint16[12] memory pays, uint8[12] memory waits) public {
        uint256 window = 100;
        uint256 total;
        Cover cover;
        uint256[] memory totals = new uint256[](13);
        uint256[] memory times = new uint256[](13);
        uint256 clock = 1_700_000_000;
        for (uint256 i = 1; i < 13; i++) {
            clock += waits[i - 1];
            vm.warp(clock);
            totals[i] = total + pays[i - 1];
            times[i] = clock;
            uint256 final_; // at this post
            for (uint256 j = 1; j < i; j++) {
                if (times[j] + window <= clock) final_ = totals[j];
            }
            uint256 open; // pay
            (cover, open) = this.advance(cover, total, totals[i], window, false);
            vm.assertLe(cover.settled(), final_);
            if (times[i - 1] + window <= clock) vm.assertEq(open, 0); // one round after the other is always allowed
            else if (final_ != total) vm.assertGe(open, totals[i] - final_);
            total = totals[i];
        }
    }

    function testFuzz_cover_settlesNothingWhileARoundIsHeld(bytes20 high, uint64 settled, uint96 before, uint96 total) public {
        Cover cover = Cover.wrap(bytes32(high) | bytes32(uint256(settled)));
        vm.assume(before >= cover.settled());
        total = total < before ? before : total;
        vm.warp(type(uint32).max);
        (Cover next,) = this.advance(cover, before, total, 1, true);
        vm.assertEq(next.settled(), cover.settled());
    }

    function advance(Cover cover, uint256 before, uint256 total, uint256 window, bool held)
        external
        view
        returns (Cover next, uint256 open)
    {
        unchecked {
            return cover.advance(before, total, window, held);
        }
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
        vm.assertEq(posting.windowEnd(), time);
    }

    function testFuzz_purse_keepsItsFieldsApart(address token, uint96 first, uint96 second) public pure {
        (uint256 before, uint256 then) = (first % (MOST + 1), second % (MOST + 1));
        Purse purse = toPurse(token).withPaid(before);
        vm.assertFalse(purse.unsettled());
        vm.assertEq(purse.paid(), before);
        purse = purse.withUnsettled().withPaid(then);
        vm.assertTrue(purse.unsettled());
        vm.assertEq(purse.paid(), then);
        vm.assertEq(purse.token(), token);
        vm.assertTrue(purse.withUnsettled().unsettled());
    }
}
