// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title A token for devnets, with permit
/// @notice Anyone mints as much as they like, so it is worth nothing; never use it where money is meant.
contract DevToken is ERC20, ERC20Permit {
    constructor() ERC20("Fairshare Dev Token", "FAIR") ERC20Permit("Fairshare Dev Token") {}

    /// @notice Mints `amount` wei to `account`.
    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }
}
