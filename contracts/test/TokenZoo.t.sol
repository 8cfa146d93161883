// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {DevToken} from "../src/DevToken.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {payroll} from "./world/Payroll.sol";
import {vm} from "./world/Vm.sol";
import {World} from "./world/World.sol";

/// @notice A plain ledger that the misbehaving tokens below are cut from.
abstract contract Ledger20 {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function _approve(address spender, uint256 amount) internal {
        allowance[msg.sender][spender] = amount;
    }

    function _spend(address from, uint256 amount) internal {
        if (allowance[from][msg.sender] != type(uint256).max) allowance[from][msg.sender] -= amount;
    }

    function _move(address from, address to, uint256 amount) internal virtual {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @dev As the best-known stablecoin on Ethereum does.
contract ReturnsNothing is Ledger20 {
    function approve(address spender, uint256 amount) external {
        _approve(spender, amount);
    }

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _spend(from, amount);
        _move(from, to, amount);
    }
}

abstract contract ReturnsTrue is Ledger20 {
    function approve(address spender, uint256 amount) external returns (bool) {
        _approve(spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) public virtual returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) public virtual returns (bool) {
        _spend(from, amount);
        _move(from, to, amount);
        return true;
    }
}

contract Plain is ReturnsTrue {
    uint8 public decimals;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }
}

/// @dev Says no instead of reverting; with `lie` it says no to everything, moved or not.
contract ReturnsFalse is ReturnsTrue {
    bool public refuses;

    function setRefuses(bool refuses_) external {
        refuses = refuses_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return !refuses && super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return !refuses && super.transferFrom(from, to, amount);
    }
}

contract TakesFee is ReturnsTrue {
    uint256 public fee = 1;

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    function _move(address from, address to, uint256 amount) internal override {
        balanceOf[from] -= amount;
        balanceOf[to] += amount - fee;
    }
}

contract Blacklists is ReturnsTrue {
    mapping(address => bool) public banned;

    function ban(address account) external {
        banned[account] = true;
    }

    function _move(address from, address to, uint256 amount) internal override {
        require(!banned[from] && !banned[to], "banned");
        super._move(from, to, amount);
    }
}

/// @dev Every balance is a number of shares; a rebase changes what a share is worth.
contract Rebases is ReturnsTrue {
    function rebase(address account, int256 by) external {
        balanceOf[account] = uint256(int256(balanceOf[account]) + by);
    }
}

/// @dev Calls the sender before and the receiver after a transfer, as ERC-777 does.
contract CallsBack is ReturnsTrue {
    mapping(address => address) public hookOf;

    function setHook(address account, address hook) external {
        hookOf[account] = hook;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (hookOf[from] != address(0)) Hook(hookOf[from]).moved();
        super._move(from, to, amount);
        if (hookOf[to] != address(0)) Hook(hookOf[to]).moved();
    }
}

/// @notice Makes one prepared call when it is called back.
contract Hook {
    address internal target;
    bytes internal data;
    bool public armed;
    bool public done;
    bytes public reason;

    function arm(address target_, bytes calldata data_) external {
        (target, data, armed) = (target_, data_, true);
    }

    function moved() external {
        if (!armed) return;
        armed = false;
        (done, reason) = target.call(data);
    }
}

/// @notice Each token either works to the wei or is refused when money would come in.
contract TokenZooTest is World {
    function _use(address zoo) internal {
        token = DevToken(zoo); // only what all of them have is called
    }

    /// @dev A whole task in this token, from opening to drained.
    function _live() internal {
        _begin();
        ITask.Header memory header = _postFinal();
        for (uint256 i; i < 3; i++) {
            fairshare.claim(payroll(header), leaves[i], _proof(i));
            vm.assertEq(token.balanceOf(_client(i)), leaves[i].cumulative);
        }
        _wait(1 days);
        fairshare.expire(taskId);
        for (uint256 i; i < 3; i++) {
            fairshare.claim(payroll(header), leaves[i], _proof(i)); // its share of the pool
            fairshare.release(taskId, _client(i));
            fairshare.withdrawFor(address(token), _client(i));
        }
        _wait(30 days);
        fairshare.sweep(taskId);
        fairshare.withdrawFor(address(token), SPONSOR);
        vm.assertEq(token.balanceOf(address(fairshare)), 0);
    }

    function test_aTokenThatReturnsNothing_works() public {
        _use(address(new ReturnsNothing()));
        _live();
    }

    function test_tokensOfAnyDecimals_work() public {
        uint8[3] memory decimals = [0, 6, 36];
        for (uint256 i; i < 3; i++) {
            delete clients;
            setUp();
            delete headers;
            delete leaves;
            _use(address(new Plain(decimals[i])));
            _live();
        }
    }

    function test_aTokenThatReturnsFalse_isRefusedWhenItDoes() public {
        ReturnsFalse zoo = new ReturnsFalse();
        _use(address(zoo));
        zoo.setRefuses(true);
        _fund(SPONSOR, 1000 ether);
        ITask.Terms memory terms = _terms();
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(zoo)));
        vm.prank(SPONSOR);
        fairshare.open(terms);
        zoo.setRefuses(false);
        _begin();
        ITask.Header memory header = _postFinal();
        zoo.setRefuses(true);
        ITask.Proof memory proof = _proof(0);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(zoo)));
        fairshare.claim(payroll(header), leaves[0], proof);
        vm.assertEq(_state().paid, 0); // nothing is booked that was not paid
        zoo.setRefuses(false);
        fairshare.claim(payroll(header), leaves[0], proof);
    }

    function test_aTokenThatTakesAFee_isRefusedAtOpen() public {
        _use(address(new TakesFee()));
        _fund(SPONSOR, 1000 ether);
        ITask.Terms memory terms = _terms();
        vm.expectRevert(
            abi.encodeWithSelector(ITask.TokenTookFee.selector, address(token), 1000 ether - 1, 1000 ether)
        );
        vm.prank(SPONSOR);
        fairshare.open(terms);
    }

    function test_aTokenThatTakesAFeeLater_takesItFromWhoIsPaidAndFromNobodyElse() public {
        TakesFee zoo = new TakesFee();
        zoo.setFee(0);
        _use(address(zoo));
        _begin();
        ITask.Header memory header = _postFinal();
        zoo.setFee(1);
        address late = address(type(uint160).max);
        _fund(late, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ITask.TokenTookFee.selector, address(token), 1 ether - 1, 1 ether));
        vm.prank(late);
        fairshare.join(taskId, 1 ether, "", 0, new bytes32[](0));
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        vm.assertEq(zoo.balanceOf(_client(0)), leaves[0].cumulative - 1);
        vm.assertEq(zoo.balanceOf(address(fairshare)), 2003 ether - leaves[0].cumulative); // its books are exact
    }

    function test_aBlacklistedClient_holdsUpNobodyElse() public {
        Blacklists zoo = new Blacklists();
        _use(address(zoo));
        _begin();
        ITask.Header memory header = _postFinal();
        zoo.ban(_client(1));
        zoo.ban(address(0xdEaD));
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSignature("Error(string)", "banned"));
        fairshare.claim(payroll(header), leaves[1], proof);
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        fairshare.claim(payroll(header), leaves[2], _proof(2));
        _wait(1 days);
        fairshare.expire(taskId); // credits, no transfers
        fairshare.claimRange(payroll(header), 0, leaves, ""); // pays two, and credits the third
        vm.assertGe(_credit(_client(1)), leaves[1].cumulative);
        fairshare.releaseRange(taskId, clients);
        vm.assertEq(zoo.balanceOf(_client(1)), 0);
        vm.assertGe(_credit(_client(1)), leaves[1].cumulative + 1 ether);
        fairshare.withdrawFor(address(token), SPONSOR);
    }

    function test_aRebasingToken_isAtTheRiskOfItsOwnTasksOnly() public {
        // A task in a well-behaved token beside it.
        _begin();
        bytes32 steady = taskId;
        ITask.Header memory steadyHeader = _postFinal();
        ITask.Leaf memory steadyLeaf = leaves[0];
        ITask.Proof memory steadyProof = _proof(0);
        DevToken dev = token;
        delete headers;
        delete leaves;
        // The same in one that gains, then loses.
        Rebases zoo = new Rebases();
        _use(address(zoo));
        ITask.Terms memory terms = _terms();
        terms.salt = keccak256("rebases");
        _begin(terms);
        ITask.Header memory header = _postFinal();
        zoo.rebase(address(fairshare), 10 ether);
        uint256 balance = zoo.balanceOf(_client(0));
        fairshare.claim(payroll(header), leaves[0], _proof(0)); // a gain changes nothing for anybody
        vm.assertEq(zoo.balanceOf(_client(0)) - balance, leaves[0].cumulative);
        zoo.rebase(address(fairshare), -int256(zoo.balanceOf(address(fairshare)))); // all gone
        ITask.Proof memory proof = _proof(1);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        fairshare.claim(payroll(header), leaves[1], proof);
        // The other task never notices.
        vm.assertNotEq(steady, taskId);
        fairshare.claim(payroll(steadyHeader), steadyLeaf, steadyProof);
        vm.assertEq(dev.balanceOf(steadyLeaf.account), steadyLeaf.cumulative);
    }

    function test_aTokenThatCallsBack_cannotMakeAClaimPayTwice() public {
        CallsBack zoo = new CallsBack();
        _use(address(zoo));
        _begin();
        ITask.Header memory header = _postFinal();
        Hook hook = new Hook();
        zoo.setHook(_client(0), address(hook));
        hook.arm(address(fairshare), abi.encodeCall(fairshare.claim, (payroll(header), leaves[0], _proof(0))));
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        vm.assertFalse(hook.done());
        vm.assertEq(bytes32(bytes4(hook.reason())), bytes32(ITask.NothingToClaim.selector));
        vm.assertEq(zoo.balanceOf(_client(0)), leaves[0].cumulative);
    }

    function test_aTokenThatCallsBack_cannotMakeAWithdrawalPayTwice() public {
        CallsBack zoo = new CallsBack();
        _use(address(zoo));
        _open(_terms());
        _wait(1 days);
        fairshare.expire(taskId);
        Hook hook = new Hook();
        zoo.setHook(SPONSOR, address(hook));
        hook.arm(address(fairshare), abi.encodeCall(fairshare.withdrawFor, (address(zoo), SPONSOR)));
        fairshare.withdrawFor(address(zoo), SPONSOR);
        vm.assertFalse(hook.done());
        vm.assertEq(zoo.balanceOf(SPONSOR), 1000 ether);
    }

    function test_aTokenThatCallsBack_cannotCountOneDepositTwice() public {
        CallsBack zoo = new CallsBack();
        _use(address(zoo));
        _open(_terms());
        // While client 0's stake is on its way in, its hook takes a credit of the same token out: the delta is short.
        _join(1, 1 ether);
        _leave(1);
        Hook hook = new Hook();
        zoo.setHook(_client(0), address(hook));
        hook.arm(address(fairshare), abi.encodeCall(fairshare.withdrawFor, (address(zoo), _client(1))));
        _fund(_client(0), 2 ether);
        address client = _client(0);
        vm.expectRevert(abi.encodeWithSelector(ITask.TokenTookFee.selector, address(zoo), 1 ether, 2 ether));
        vm.prank(client);
        fairshare.join(taskId, 2 ether, "", 0, new bytes32[](0));
    }

    function test_aTokenThatIsNoContract_isRefused() public {
        ITask.Terms memory terms = _terms();
        terms.token = ANYONE;
        (bool done,) = address(fairshare).call(abi.encodeCall(fairshare.open, (terms)));
        vm.assertFalse(done);
    }
}
