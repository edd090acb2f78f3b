"""Train from Python, then let the agent play.

From this folder: ``python train_and_play.py``
"""

from my_environment import make

from async_rl import Config, load, train

if __name__ == "__main__":  # workers import the main module, as always with multiprocessing
    config = Config(
        env="my_environment:make",
        network="my_network:make",
        steps=30_000,
        workers=1,
        target_interval=200,
        epsilon_anneal_steps=10_000,
        final_epsilons=(0.05,),
        final_epsilon_probabilities=(1.0,),
        optimizer="adam",
        rms_decay=0.999,
        lr=2e-3,
    )
    result = train(config, quiet=True)
    print(f"trained: the last 100 games scored {result.mean_score:.2f} on average")

    agent = load(result.run_dir, trust_code=True)  # its files name the two modules here, to be imported
    environment = make()
    observation, _ = environment.reset(seed=1)
    score, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = environment.step(agent.act(observation))
        score, over = score + float(reward), terminated or truncated
    print(f"one game without exploration: {score:.2f}")
