@wire
Feature: Measuring a backend
  How much room there is, and whether a storage works at all, is told by its
  agent and not guessed. What its volumes take is counted from the log, so the
  sum never drifts.

  Rule: A backend says what it is

    Scenario: It is looked at
      When backend "files" is looked at
      Then the caller is told that it is a "FileDriver" on this machine
      And the caller is told its sizes and when they were measured

    Scenario: It is asked what it can do
      When it is asked what backend "files" can do
      Then the request succeeds
      And the caller is told its sizes and when they were measured

    Scenario: It is asked to measure now
      When backend "files" is measured
      Then the request succeeds
      And the answer shows as much of backend "files" as looking at it does

    Scenario: All of them are listed
      When the backends are listed
      Then the request succeeds
      And they are "faulty, files, roomy, small, spare"

  Rule: What its volumes take is what the log says

    Scenario: A volume more
      Given an available volume "db" of 3 GiB on backend "faulty"
      When backend "faulty" is measured
      Then backend "faulty" counts what its volumes take

    Scenario: A volume that grew
      Given an available volume "db" of 1 GiB on backend "faulty"
      When "db" is extended to 5 GiB
      Then "db" is available and has 5 GiB
      And backend "faulty" counts what its volumes take

  Rule: What is gone, or never came to be, takes nothing

    Scenario: A volume that could not grow
      Given a volume "db" of 1 GiB that could not be extended
      When backend "faulty" is measured
      Then backend "faulty" counts what its volumes take

    Scenario: A volume less
      Given an available volume "db" of 3 GiB on backend "faulty"
      And "db" was deleted
      When backend "faulty" is measured
      Then backend "faulty" counts what its volumes take

  Rule: A backend that never was is not found

    Scenario: Somebody looks at it
      When backend "nowhere" is looked at
      Then the request is refused as not-found with "nowhere"
      And nothing is recorded

    Scenario: It is measured
      When backend "nowhere" is measured
      Then the request is refused as not-found with "nowhere"
      And nothing is recorded

    Scenario: It is asked whether it works
      When it is asked whether backend "nowhere" works
      Then the request is refused as not-found with "nowhere"
      And nothing is recorded
