/** The wire types of `GET /v1/balance` (the key) and `GET /v1/user/balance` (the account). Money is USD, or credits, ten to the USD. */

export type BalanceReply = {
  success: true;
  /** Spendable now, holds deducted; −1 for a key without a spend cap. */
  remain_balance: number;
  remain_credits: number;
  /** Captured so far. */
  used_balance: number;
  used_credits: number;
  unlimited_quota: boolean;
};
