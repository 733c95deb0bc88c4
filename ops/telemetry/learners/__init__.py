"""What a service's learner processes tell of themselves, put together by its servers."""
