(() => {
  const bar = document.getElementById("filters"), said = document.getElementById("shown");
  const tasks = [...document.querySelectorAll("article.task")];
  const apply = () => {
    const status = bar.querySelector("input[name=status]:checked").value;
    const text = bar.querySelector("input[type=search]").value.trim().toLowerCase();
    let count = 0;
    for (const task of tasks) {
      const shown = (status === "all" || task.dataset.status === status) && task.dataset.name.toLowerCase().includes(text);
      task.hidden = !shown;
      count += shown;
    }
    said.textContent = `${count} of these ${tasks.length} tasks`;
  };
  bar.addEventListener("input", apply);
  bar.hidden = false;
  apply();
})();
