@wire
Feature: Repeating a request
  A caller that lost an answer asks again under the same key, and nothing is done
  twice: not by a retry, not by two at once, not after a restart.

  Rule: The same key and the same request have the same answer

    Scenario: It is asked again
      Given a volume "db" was created under the key "order 7"
      When the same is asked again
      Then the answer is the first one again
      And nothing is recorded

    Scenario: It is spelt differently
      Given a volume "db" was created under the key "order 7"
      When the same is asked again, spelt differently
      Then the answer is the first one again
      And nothing is recorded

    Scenario: What was reserved has changed since
      Given an available volume "db"
      And "web-1" has reserved "db" under the key "order 7"
      And "db" was given another name since
      When the same is asked again
      Then the answer is the first one again
      And nothing is recorded

    Scenario: Both are asked in the same moment
      When 10 times, the same is asked twice at once
      Then each time both are given the same answer
      And each time one volume is made

  Rule: Who asks, and whether it waits, makes no difference

    Scenario: Somebody else repeats it, and waits
      Given a volume "db" was created under the key "order 7"
      When the same is asked again by "ana" who waits
      Then the answer shows "db" as available
      And nothing is recorded

  Rule: A key is used for one thing

    Scenario: Something else of the same kind
      Given a volume "db" was created under the key "order 7"
      When a volume "web" of 2 GiB is created
      Then the request is refused as conflict
      And nothing is recorded

    Scenario: Something of another kind
      Given a volume "db" was created under the key "order 7"
      When "db" is deleted
      Then the request is refused as conflict
      And "db" is available

  Rule: A refusal is not remembered

    Scenario: It is allowed by now
      Given an available volume "db"
      And "db" was refused to "web-2" under the key "order 7" and is free by now
      When "web-2" is attached to "db"
      Then "db" is in-use

    Scenario: It is refused again
      Given an available volume "db"
      And "web-1" was attached to "db"
      And "db" was refused to "web-2" under the key "order 7"
      When "web-2" is attached to "db"
      Then the request is refused as refused

  Rule: A key that did nothing is used as well

    Scenario: The answer that nothing was to be done is given again
      Given a deleted volume "db"
      And everything is asked under the key "order 7"
      And "db" was deleted once more
      When a volume "web" of 1 GiB is created
      Then the request is refused as conflict

  Rule: The log keeps the key

    Scenario: It stands beside all that followed
      Given a volume "db" was created under the key "order 7"
      When "db" is looked at
      Then every line of the history of "db" has the same key

  Rule: A key is printable and short

    Scenario Outline: A key that can be used
      Given the caller gives <key> for its key
      When a volume "db" of 1 GiB is created
      Then the request succeeds

      Examples:
        | key           |
        | 1             |
        | 128 times x   |

    Scenario: A key that is too long
      Given the caller gives 129 times x for its key
      When a volume "db" of 1 GiB is created
      Then the request is refused as invalid
      And nothing is recorded
