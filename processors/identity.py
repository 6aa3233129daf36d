"""Whether the raw topic is still the one whose messages are being read."""

from confluent_kafka.admin import AdminClient

from salesviews import topics
from salesviews.errors import FencedError
from salesviews.settings import Settings


class TopicIdentity:
    """The id of the raw topic.

    A topic that is deleted and created again has other messages at the same offsets, and a consumer that was in the
    middle of the old one goes on in the new one without a word. So ``check`` is called after messages were received and
    before anything is done with them: what was received before is of the topic that is there at that moment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(topics.admin_config(settings))
        self._id = ""

    @property
    def id(self) -> str:
        """The topic's id when it was first asked for; until then it is asked now.

        :raises BrokerError: if the topic does not exist, or Kafka does not answer
        """
        self._id = self._id or self._ask()
        return self._id

    def check(self) -> None:
        """:raises FencedError: if the topic is another one now"""
        before, now = self.id, self._ask()
        if now != before:
            raise FencedError(
                f"Topic {self._settings.topic} was deleted and created again while it was read: its id was {before}, "
                f"and is {now}. This process ends; the next one reads the new topic from its beginning, as new data."
            )

    def _ask(self) -> str:
        return topics.topic_id(self._settings, self._settings.topic, admin=self._admin)
